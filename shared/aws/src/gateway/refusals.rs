//! Whether a refusal (429) is one connection's or everybody's.

use std::collections::HashSet;
use std::time::Duration;

use bond_core::connection::ConnectionId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long posts are counted together.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer refused connections than this are slow clients: taking a quota for slow clients parks them one by one, which also
/// lowers the rate, while taking a slow client for the quota would hold up everybody.
const SEVERAL: usize = 4;
/// So many posts are taken for each refused connection where the quota is not the reason.
const TAKEN_EACH: usize = 10;

/// What became of the posts of the last second or so.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Window>);

#[derive(Default)]
struct Window {
    ends_at: Option<Instant>,
    taken: usize,
    refused: HashSet<ConnectionId>,
}

impl Refusals {
    pub(super) fn taken(&self, now: Instant) {
        let mut window = self.0.lock();
        window.turn(now);
        window.taken += 1;
    }

    /// Whether so many connections are refused that it cannot be theirs.
    pub(super) fn refused(&self, connection: &ConnectionId, now: Instant) -> bool {
        let mut window = self.0.lock();
        window.turn(now);
        window.refused.insert(connection.clone());
        window.refused.len() >= SEVERAL && window.refused.len() * TAKEN_EACH >= window.taken
    }
}

impl Window {
    fn turn(&mut self, now: Instant) {
        if self.ends_at.is_none_or(|end| now >= end) {
            *self = Self { ends_at: Some(now + WINDOW), ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(refusals: &Refusals, connections: usize, now: Instant) -> bool {
        (0..connections).fold(false, |_, n| refusals.refused(&ConnectionId::new(format!("c{n}")), now))
    }

    #[test]
    fn one_connection_that_is_refused_again_and_again_is_slow() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let one = ConnectionId::new("c");
        assert!(!(0..100).any(|_| refusals.refused(&one, now)));
    }

    #[test]
    fn many_connections_refused_at_once_are_the_quota() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert!(!refuse(&refusals, SEVERAL - 1, now), "some are slow");
        assert!(refuse(&refusals, SEVERAL, now));
    }

    #[test]
    fn many_among_very_many_are_slow() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        (0..=SEVERAL * TAKEN_EACH).for_each(|_| refusals.taken(now));
        assert!(!refuse(&refusals, SEVERAL, now));
        assert!(refuse(&refusals, SEVERAL + 1, now));
    }

    #[test]
    fn what_was_a_second_ago_does_not_count() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert!(refuse(&refusals, SEVERAL, now));
        assert!(!refuse(&refusals, 1, now + WINDOW));
    }
}
