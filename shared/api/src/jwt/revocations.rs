//! Users whose connections were ended, as far as this process knows.

use std::collections::HashMap;

use bond_core::revocation::{Revocation, Revoked};
use bond_core::time::UnixNanos;
use parking_lot::RwLock;
use smol_str::SmolStr;

/// The users, and when this process learned of each.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<HashMap<SmolStr, Learned>>);

#[derive(Clone, Copy, Debug)]
struct Learned {
    revocation: Revocation,
    at: UnixNanos,
}

impl Revocations {
    /// Takes over what a topic tells at `now`, and forgets what is over. Returns the users of whom that is new.
    pub fn learn(&self, told: Revoked, now: UnixNanos) -> Vec<SmolStr> {
        let mut known = self.0.write();
        known.retain(|_, learned| !learned.revocation.is_over(now));
        let told = told.into_iter().filter(|(_, revocation)| !revocation.is_over(now));
        let new: Vec<_> = told
            .filter(|(user, revocation)| {
                known.get(user).is_none_or(|learned| learned.revocation.at < revocation.at)
            })
            .collect();
        known.extend(
            new.iter().map(|(user, revocation)| (user.clone(), Learned { revocation: *revocation, at: now })),
        );
        new.into_iter().map(|(user, _)| user).collect()
    }

    /// Until when tokens of the user are refused, if they are at `now`.
    pub fn refused_until(&self, user: &str, now: UnixNanos) -> Option<UnixNanos> {
        let until = self.0.read().get(user)?.revocation.until;
        (now < until).then_some(until)
    }

    /// Whether this process has learned of the user since `admitted_at`, when the connection was let in.
    pub fn ends(&self, user: &str, admitted_at: UnixNanos) -> bool {
        self.0.read().get(user).is_some_and(|learned| learned.at >= admitted_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_secs(1_700_000_000 + seconds)
    }

    fn told(user: &str, from: i64, until: i64) -> Revoked {
        [(user.into(), Revocation { at: at(from), until: at(until) })].into()
    }

    #[test]
    fn a_user_is_new_once_and_refused_until_it_is_over() {
        let revocations = Revocations::default();
        assert_eq!(revocations.learn(told("u1", 0, 100), at(1)), ["u1"]);
        assert!(revocations.learn(told("u1", 0, 100), at(2)).is_empty());
        assert_eq!(revocations.refused_until("u1", at(99)), Some(at(100)));
        assert_eq!(
            [revocations.refused_until("u1", at(100)), revocations.refused_until("u2", at(1))],
            [None; 2]
        );
        assert_eq!([0, 1, 2].map(|seconds| revocations.ends("u1", at(seconds))), [true, true, false]);
        assert_eq!(revocations.learn(told("u1", 50, 100), at(51)), ["u1"], "disconnected again");
        assert!(revocations.learn(Revoked::new(), at(60)).is_empty());
        assert!(
            revocations.refused_until("u1", at(60)).is_some(),
            "kept although nobody tells of it any more"
        );
        revocations.learn(Revoked::new(), at(120));
        assert!(revocations.0.read().is_empty());
        assert!(revocations.learn(told("u1", 50, 100), at(121)).is_empty(), "over when it was told");
    }
}
