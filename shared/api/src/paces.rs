//! Limits how often each owner may call.

use bond_core::connection::{Limit, RateTable};
use bond_core::time::UnixNanos;

/// A burst may have as many calls as are allowed in this many seconds.
const BURST_SECONDS: u32 = 4;

/// The most owners that are tracked. Owners exist only by keys, so this is not reached in practice. A further owner is refused until
/// another has been quiet.
const MAX_OWNERS: usize = 4096;

/// The rate of each owner who has called lately. On Lambda each instance counts separately.
#[derive(Debug)]
pub struct Paces {
    limit: Limit,
    owners: RateTable<String>,
}

impl Paces {
    /// Allows each owner `per_second` calls per second.
    pub fn new(per_second: u32) -> Self {
        let limit = Limit::per_second(per_second, per_second.saturating_mul(BURST_SECONDS));
        Self { limit, owners: RateTable::new(MAX_OWNERS) }
    }

    /// Whether a call of the owner at `now` is within the limit. Callers without a valid key are refused before and are not tracked here.
    pub fn admit(&self, owner: &str, now: UnixNanos) -> bool {
        self.owners.spend(owner.to_owned(), self.limit, now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

    #[test]
    fn each_owner_has_a_burst_and_then_the_pace() {
        let paces = Paces::new(50);
        let admitted = |owner, now| (0..1_000).filter(|_| paces.admit(owner, now)).count();
        assert_eq!((admitted("ann", NOW), admitted("bob", NOW)), (200, 200));
        assert_eq!(admitted("ann", NOW.plus(Duration::from_secs(1))), 50);
    }

    #[test]
    fn the_table_is_bounded_and_the_quiet_make_room() {
        let paces = Paces::new(50);
        assert!((0..MAX_OWNERS).all(|n| paces.admit(&n.to_string(), NOW)));
        assert!(!paces.admit("one more", NOW));
        assert!(paces.admit("0", NOW), "who has a place keeps it");
        assert!(paces.admit("one more", NOW.plus(Duration::from_secs(1))));
        assert_eq!(paces.owners.len(), 1, "the quiet are forgotten");
    }
}
