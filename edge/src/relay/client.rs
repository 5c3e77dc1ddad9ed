//! One client behind API Gateway, and what the relay remembers of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::connection::{Carries, Connection, NOTES};
use bond_core::cursors::LaneCursors;
use bond_core::deliver::FRAME_BYTES;
use bond_core::message::{ServerMessage, to_json};
use bond_core::position::Position;
use bond_core::source::SourceBoard;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::pause::Pause;
use crate::delivery::feed::{Feed, Scope};
use crate::delivery::frame;

/// A client with this many bytes of messages from us that it has not taken is told nothing more than what it missed.
const UNTAKEN: usize = 8 * 1024;

/// Where a client stands between two invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has everything there is.
    Idle,
    /// It is in line for the next invocation.
    Queued,
    /// The invocation in flight posts to it; whether there is news since.
    UnderWay { news: bool },
}

/// What becomes of a client once the invocation in flight is over.
#[derive(Debug)]
pub(super) enum Update {
    /// It asked for something else.
    Renew(Box<Connection>),
    /// It is gone.
    Leave,
}

/// Why a client is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Its token has expired: at once.
    Expired,
    /// Its stream has ended: after what is left of it.
    StreamEnded,
    /// It has taken nothing for too long: at once, whatever is left.
    TooSlow,
    /// It has spoken too often for too long: at once, whatever is left.
    TooMuch,
    /// The key that opened it was revoked: at once, whatever is left.
    Revoked,
}

impl Closing {
    /// Whether nothing that is left is sent, and nothing that fails holds it up.
    pub(super) const fn is_abrupt(self) -> bool {
        matches!(self, Self::TooSlow | Self::TooMuch | Self::Revoked)
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    /// As it last asked to be served.
    pub(super) asked: Connection,
    pub(super) feed: Feed,
    /// Frames of ours that go before what the feed gets next: gaps, heartbeats, errors.
    pub(super) said: Vec<u8>,
    /// How many of them there are up to the last note; 0 once all notes were taken.
    pub(super) noted: usize,
    /// Since when it was too slow for all that was sent; `None` once something was taken, or nothing is left to send.
    pub(super) slow_since: Option<Instant>,
    pub(super) standing: Standing,
    pub(super) backoff: Pause,
    pub(super) update: Option<Update>,
    pub(super) closing: Option<Closing>,
    pub(super) heartbeat_at: Option<UnixNanos>,
    /// When it was last known to be open.
    pub(super) seen: Instant,
    /// How often in a row the store did not know it.
    pub(super) missed: u8,
    /// Where a predecessor had brought the lane, while there may be topics that are not followed yet.
    pub(super) restored: Option<Arc<LaneCursors>>,
}

impl Client {
    pub(super) fn new(asked: Connection, restored: Option<Arc<LaneCursors>>, now: Instant) -> Self {
        let scope = match &asked.carries {
            Carries::Stream { id, .. } => Scope::Stream(id.clone()),
            Carries::Feed(_) => Scope::unasked(SmolStr::new(asked.id.as_str())),
        };
        Self {
            feed: Feed::new(scope, asked.batch),
            asked,
            said: Vec::new(),
            noted: 0,
            slow_since: None,
            standing: Standing::Idle,
            backoff: Pause::connection(),
            update: None,
            closing: None,
            heartbeat_at: None,
            seen: now,
            missed: 0,
            restored,
        }
    }

    /// The stream it carries, if it carries one.
    pub(super) const fn stream(&self) -> Option<&StreamId> {
        self.asked.stream()
    }

    /// The positions that the previous relay saved, unless the client asked for others since.
    pub(super) fn restored(&self) -> Option<&BTreeMap<Topic, Position>> {
        self.restored.as_ref()?.of(&self.asked)
    }

    /// Whether the previous relay already sent this version's notes: true if its save is at least as new, and lists no separate position for
    /// this client.
    pub(super) fn was_told(&self) -> bool {
        self.restored.as_ref().is_some_and(|cursors| {
            self.asked.asked_at <= cursors.heard && !cursors.apart.contains_key(&self.asked.id)
        })
    }

    /// Whether messages that are no events are sent. A feed gets heartbeats in any case.
    pub(super) const fn has_heartbeats(&self) -> bool {
        self.asked.control || matches!(self.asked.carries, Carries::Feed(_))
    }

    /// Puts a message in line, unless too many are.
    pub(super) fn say(&mut self, message: &ServerMessage<'_>) {
        self.put(&to_json(message));
    }

    fn put(&mut self, text: &[u8]) {
        if self.said.len() < UNTAKEN {
            frame::text(text, &mut self.said);
        }
    }

    /// Puts in line what a function left to be told, whether control is on or not.
    pub(super) fn note(&mut self, notes: &[String]) {
        let fits =
            |note: &&String| note.len() <= FRAME_BYTES && serde_json::from_str::<&RawValue>(note).is_ok();
        notes.iter().take(NOTES).filter(fits).for_each(|note| self.put(note.as_bytes()));
        if !notes.is_empty() {
            self.noted = frame::split(&self.said).count();
        }
    }

    /// Forgets what waits to be told.
    pub(super) fn unsay_all(&mut self) {
        (self.said, self.noted) = (Vec::new(), 0);
    }

    /// Whether it has taken nothing for `stall`, and nobody has drawn the conclusion. While a post is under way that is open.
    pub(super) fn is_stalled(&self, now: Instant, stall: Duration) -> bool {
        !self.closing.is_some_and(Closing::is_abrupt)
            && !matches!(self.standing, Standing::UnderWay { .. })
            && self.slow_since.is_some_and(|since| now.saturating_duration_since(since) >= stall)
    }

    /// Forgets the first `count` of our messages: they were taken.
    pub(super) fn unsay(&mut self, count: usize) {
        let bytes: usize = frame::split(&self.said).take(count).map(<[u8]>::len).sum();
        self.said.drain(..bytes);
        self.noted = self.noted.saturating_sub(count);
        if self.said.is_empty() {
            self.said = Vec::new();
        }
    }

    /// Says a heartbeat, and sets the time of the next. They are counted from the opening of the connection, whoever relays, so that
    /// their numbers rise across a takeover.
    pub(super) fn heartbeat(&mut self, every: Duration, now: UnixNanos, board: &SourceBoard) {
        let number = self.heartbeats_by(every, now);
        let sources = match &self.asked.carries {
            Carries::Stream { id, .. } => board.for_stream(id),
            Carries::Feed(state) => board.for_feed(state.wish.as_ref().map(|wish| &wish.filter)),
        };
        self.say(&ServerMessage::heartbeat(number, now, &sources));
        self.set_heartbeat(every, number);
    }

    /// Has the next heartbeat said in its time, none before.
    pub(super) fn expect_heartbeat(&mut self, every: Duration, now: UnixNanos) {
        let number = self.heartbeats_by(every, now);
        self.set_heartbeat(every, number);
    }

    fn heartbeats_by(&self, every: Duration, now: UnixNanos) -> u64 {
        let open_for = now.since(self.asked.opened_at).as_nanos();
        1 + u64::try_from(open_for / every.as_nanos().max(1)).unwrap_or(u64::MAX - 1)
    }

    fn set_heartbeat(&mut self, every: Duration, number: u64) {
        let until_next = every.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        self.heartbeat_at = Some(self.asked.opened_at.plus(until_next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bond_core::connection::ConnectionId;

    fn client() -> Client {
        let (id, at) = (ConnectionId::new("c"), UnixNanos::from_secs(100));
        let asked = Connection { control: true, ..Connection::opened(id, at, Carries::Feed(Box::default())) };
        Client::new(asked, None, Instant::now())
    }

    #[test]
    fn messages_of_ours_are_forgotten_one_by_one() {
        let mut client = client();
        for ts in 0..3 {
            client.say(&ServerMessage::Pong { ts: UnixNanos::from_secs(ts), correlation_id: None });
        }
        client.unsay(2);
        let left: Vec<&[u8]> = frame::split(&client.said).map(frame::payload).collect();
        assert_eq!(left, [br#"{"type":"pong","ts":"1970-01-01T00:00:02.000Z"}"#]);
    }

    #[test]
    fn heartbeats_are_numbered_from_the_opening_whoever_relays() {
        let (every, sources) = (Duration::from_secs(300), SourceBoard::default());
        let mut client = client();
        client.heartbeat(every, UnixNanos::from_millis(100_050), &sources);
        assert_eq!(client.heartbeat_at, Some(UnixNanos::from_secs(400)));
        client.heartbeat(every, UnixNanos::from_millis(400_010), &sources);
        client.expect_heartbeat(every, UnixNanos::from_millis(450_000));
        assert_eq!(client.heartbeat_at, Some(UnixNanos::from_secs(700)));
        let said = String::from_utf8_lossy(&client.said).into_owned();
        assert!(said.contains("\"seq_internal\":1,") && said.contains("\"seq_internal\":2,"), "{said}");
    }
}
