//! What becomes of a client that speaks more often than its pace allows.

use super::{Carries, Connection};
use crate::message::ClientMessage;
use crate::time::UnixNanos;

/// How many refusals in one bout are answered; what comes beyond is counted alone.
pub const ANSWERED: u32 = 8;

/// With how many refusals in one bout a client is sent away.
pub const TOLERATED: u32 = 100;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is taken.
    Taken,
    /// It came too soon, and its client is told.
    Refused,
    /// It came too soon, and so did so many before it that no answer is due.
    Unanswered,
}

impl Connection {
    /// Counts a message that was made at `now`. A bout of refusals is over once the client has been quiet for long enough to speak in a
    /// burst again.
    pub fn admit(&mut self, now: UnixNanos) -> Turn {
        if self.pace.free_at <= now && !self.is_dismissed() {
            self.refused = 0;
        }
        if !self.is_dismissed() && self.pace.admit(now) {
            return Turn::Taken;
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused <= ANSWERED { Turn::Refused } else { Turn::Unanswered }
    }

    /// Whether a message is counted otherwise, or not at all, on a connection to topics: `ping` is free there, and `subscribe` and `resume`
    /// are within the limit of the topic's family. One of these that is not counts like any other message.
    pub const fn is_counted_apart(&self, message: &ClientMessage) -> bool {
        let is_apart = matches!(
            message,
            ClientMessage::Ping | ClientMessage::Subscribe(_) | ClientMessage::Resume { .. }
        );
        is_apart && matches!(self.carries, Carries::Topics(_))
    }

    /// Whether its client has spoken too often for too long: then nothing more is taken of it, and the relay closes it.
    pub const fn is_dismissed(&self) -> bool {
        self.refused >= TOLERATED
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Carries, ConnectionId};
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1);

    fn flooded(messages: u32) -> (Connection, Vec<Turn>) {
        let mut connection =
            Connection::opened(ConnectionId::new("c"), UnixNanos::EPOCH, Carries::Feed(Box::default()));
        let turns = (0..messages).map(|_| connection.admit(NOW)).collect();
        (connection, turns)
    }

    #[test]
    fn a_flood_is_answered_a_few_times_and_then_sent_away() {
        let (connection, turns) = flooded(300);
        let count = |wanted: Turn| turns.iter().filter(|turn| **turn == wanted).count();
        assert_eq!((count(Turn::Taken), count(Turn::Refused), count(Turn::Unanswered)), (100, 8, 192));
        assert!(connection.is_dismissed());
        assert!(!flooded(199).0.is_dismissed());
    }

    #[test]
    fn who_pauses_may_speak_again_unless_sent_away() {
        let later = NOW.plus(Duration::from_secs(5));
        let (mut warned, _) = flooded(150);
        assert_eq!((warned.admit(later), warned.refused), (Turn::Taken, 0));
        let (mut dismissed, _) = flooded(200);
        assert_eq!(dismissed.admit(later), Turn::Unanswered);
    }
}
