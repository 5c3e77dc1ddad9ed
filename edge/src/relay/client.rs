//! One client behind API Gateway, and the relay's state of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::connection::{Carries, Connection, NOTES, PendingAnswer, TopicRefusal};
use bond_core::cursors::LaneCursors;
use bond_core::deliver::FRAME_BYTES;
use bond_core::message::{MessageError, ServerMessage, envelope, to_json};
use bond_core::position::Position;
use bond_core::source::SourceBoard;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::pause::Pause;
use crate::delivery::feed::{Feed, NamedTopics, Scope};
use crate::delivery::frame;

/// The most bytes of notices that wait for a client. Beyond it, further notices are dropped, except gaps.
const UNTAKEN: usize = 8 * 1024;

/// The most bytes of notices, up to which answers to messages about topics are put among them.
const UNTAKEN_ANSWERS: usize = 256 * 1024;

/// How long before its end a client of topics is told that its token expires.
const WARNED_BEFORE: Duration = Duration::from_secs(60);

/// Whether a client waits for an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is nothing to send to the client.
    Idle,
    /// The client is queued for the next invocation.
    Queued,
    /// The invocation in flight posts to the client. `news`: more has come for it since.
    UnderWay { news: bool },
}

/// A change of a client that waits until the invocation in flight has ended.
#[derive(Debug)]
pub(super) enum Update {
    /// The client asked for something else.
    Renew(Box<Connection>),
    /// The connection has closed.
    Leave,
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The token has expired. Closes at once.
    Expired,
    /// The stream has ended. Closes after its last event was sent.
    StreamEnded,
    /// The client has taken nothing for too long. Closes at once; what waits is dropped.
    TooSlow,
    /// The client has sent too many messages for too long. Closes at once; what waits is dropped.
    TooMuch,
    /// The key that opened the connection was revoked. Closes at once; what waits is dropped.
    Revoked,
}

impl Closing {
    /// Whether the connection closes without sending what waits, even if the notice of it cannot be delivered.
    pub(super) const fn is_abrupt(self) -> bool {
        matches!(self, Self::TooSlow | Self::TooMuch | Self::Revoked)
    }
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    /// What the client last asked for, as the store has it.
    pub(super) asked: Connection,
    pub(super) feed: Feed,
    /// Notices that go before the feed's next events: gaps, heartbeats, errors. They are stored as frames, one after the other.
    pub(super) notices: Vec<u8>,
    /// The number of notices up to and including the last note of a function; 0 once all notes were delivered.
    pub(super) noted: usize,
    /// Since when the client has taken nothing; `None` once it has taken something, or nothing is left to send.
    pub(super) slow_since: Option<Instant>,
    pub(super) standing: Standing,
    pub(super) backoff: Pause,
    pub(super) update: Option<Update>,
    pub(super) closing: Option<Closing>,
    pub(super) heartbeat_at: Option<UnixNanos>,
    /// When the connection was last known to be open.
    pub(super) seen: Instant,
    /// How many times in a row the connection was missing in the store.
    pub(super) missed: u8,
    /// Answers to messages about topics that wait until the invocation in flight has ended.
    pub(super) pending: Vec<PendingAnswer>,
    /// The version up to which its client was answered, while later answers wait.
    pub(super) told_at: UnixNanos,
    /// The end of the token of which its client was warned.
    pub(super) warned_of: Option<UnixNanos>,
    /// The positions that the previous relay saved, as long as the client may want topics that are not followed yet.
    pub(super) restored: Option<Arc<LaneCursors>>,
}

impl Client {
    /// A client that is known from now on. `most_lag`: how far it may lag in a topic that it asks for by name.
    pub(super) fn new(
        asked: Connection,
        restored: Option<Arc<LaneCursors>>,
        most_lag: u64,
        now: Instant,
    ) -> Self {
        let name = || SmolStr::new(asked.id.as_str());
        let scope = match &asked.carries {
            Carries::Stream { id, .. } => Scope::Stream(id.clone()),
            Carries::Feed(_) => Scope::unasked(name()),
            Carries::Topics(_) => Scope::Topics(Box::new(NamedTopics::new(name(), most_lag))),
        };
        Self {
            feed: Feed::new(scope, asked.batch),
            asked,
            notices: Vec::new(),
            noted: 0,
            slow_since: None,
            standing: Standing::Idle,
            backoff: Pause::connection(),
            update: None,
            closing: None,
            heartbeat_at: None,
            seen: now,
            missed: 0,
            pending: Vec::new(),
            told_at: UnixNanos::EPOCH,
            warned_of: None,
            restored,
        }
    }

    /// The stream that the connection carries; `None` for a feed.
    pub(super) const fn stream(&self) -> Option<&StreamId> {
        self.asked.stream()
    }

    /// The positions that the previous relay saved, unless the client asked for others since.
    pub(super) fn restored(&self) -> Option<&BTreeMap<Topic, Position>> {
        self.restored.as_ref()?.of(&self.asked)
    }

    /// Whether the previous relay already sent this version's notes: true if its save is at least as new, and lists no separate position for
    /// this client.
    pub(super) fn had_notes(&self) -> bool {
        self.restored.as_ref().is_some_and(|cursors| {
            self.asked.asked_at <= cursors.known_until && !cursors.apart.contains_key(&self.asked.id)
        })
    }

    /// Whether the client gets heartbeats: with control on, and on every feed.
    pub(super) const fn has_heartbeats(&self) -> bool {
        self.asked.control || matches!(self.asked.carries, Carries::Feed(_))
    }

    /// Queues a message, unless [`UNTAKEN`] bytes wait already.
    pub(super) fn queue_message(&mut self, message: &ServerMessage<'_>) {
        self.put(&to_json(message));
    }

    fn put(&mut self, text: &[u8]) {
        if self.notices.len() < UNTAKEN {
            frame::text(text, &mut self.notices);
        }
    }

    /// Queues the notes that a function left for the client, whether control is on or not.
    pub(super) fn queue_notes(&mut self, notes: &[String]) {
        let fits =
            |note: &&String| note.len() <= FRAME_BYTES && serde_json::from_str::<&RawValue>(note).is_ok();
        notes.iter().take(NOTES).filter(fits).for_each(|note| self.put(note.as_bytes()));
        if !notes.is_empty() {
            self.noted = frame::split(&self.notices).count();
        }
    }

    /// Drops all notices that wait.
    pub(super) fn clear_notices(&mut self) {
        (self.notices, self.noted) = (Vec::new(), 0);
    }

    /// Whether the client has taken nothing for `stall`, and is not being closed already. False while a post is in flight, since its
    /// outcome is not known.
    pub(super) fn is_stalled(&self, now: Instant, stall: Duration) -> bool {
        !self.closing.is_some_and(Closing::is_abrupt)
            && !matches!(self.standing, Standing::UnderWay { .. })
            && self.slow_since.is_some_and(|since| now.saturating_duration_since(since) >= stall)
    }

    /// Drops the first `count` notices after the client has taken them.
    pub(super) fn drop_notices(&mut self, count: usize) {
        let bytes: usize = frame::split(&self.notices).take(count).map(<[u8]>::len).sum();
        self.notices.drain(..bytes);
        self.noted = self.noted.saturating_sub(count);
        if self.notices.is_empty() {
            self.notices = Vec::new();
        }
    }

    /// Queues the answers to messages about topics. Beyond [`UNTAKEN_ANSWERS`] bytes they are lost, and counted: such a client takes nothing.
    pub(super) fn queue_answers(&mut self, answers: &[Vec<u8>]) {
        for answer in answers {
            if self.notices.len() >= UNTAKEN_ANSWERS {
                metrics::counter!("bond_relay_answers_lost_total").increment(1);
                continue;
            }
            frame::text(answer, &mut self.notices);
            self.noted = frame::split(&self.notices).count();
        }
    }

    /// Queues a message in the form that its client takes.
    pub(super) fn queue_error(&mut self, error: &MessageError, ts: UnixNanos) {
        if self.asked.topics().is_some() {
            self.put(&envelope::error(&TopicRefusal::from(error.clone()), None, ts, None));
        } else {
            self.queue_message(&ServerMessage::error(error, None));
        }
    }

    /// Whether answers to messages about topics have not been delivered.
    fn has_unanswered(&self) -> bool {
        self.noted > 0 || self.feed.is_joining() || !self.pending.is_empty()
    }

    /// The version up to which its client was answered.
    pub(super) fn answered_until(&self) -> UnixNanos {
        if self.has_unanswered() { self.told_at } else { self.asked.asked_at }
    }

    /// Notes which version its client was answered, before answers of a later one are queued.
    pub(super) fn note_answered(&mut self, version: UnixNanos) {
        if !self.has_unanswered() {
            self.told_at = version;
        }
    }

    /// The end of its token, if that is so near that its client must be warned, and was not.
    pub(super) fn unwarned_end(&self, clock: UnixNanos) -> Option<UnixNanos> {
        let end =
            self.asked.expires_at.filter(|_| self.asked.topics().is_some() && self.closing.is_none())?;
        (end.minus(WARNED_BEFORE) <= clock && self.warned_of != Some(end)).then_some(end)
    }

    /// Warns of the end of its token.
    pub(super) fn warn(&mut self, end: UnixNanos, clock: UnixNanos) {
        self.warned_of = Some(end);
        self.put(&envelope::reconnect("token_expires", 0, clock));
    }

    /// Queues a heartbeat, and sets the time of the next. Heartbeats are numbered by the time since the connection was opened, so that
    /// their numbers go on when another relay takes over.
    pub(super) fn heartbeat(&mut self, every: Duration, now: UnixNanos, board: &SourceBoard) {
        let number = self.heartbeats_by(every, now);
        let sources = match &self.asked.carries {
            Carries::Stream { id, .. } => Some(board.for_stream(id)),
            Carries::Feed(state) => Some(board.for_feed(state.wish.as_ref().map(|wish| &wish.filter))),
            Carries::Topics(_) => None,
        };
        match sources {
            Some(sources) => self.queue_message(&ServerMessage::heartbeat(number, now, &sources)),
            None => self.put(&envelope::heartbeat(now)),
        }
        self.set_heartbeat(every, number);
    }

    /// Sets the time of the next heartbeat, without one now.
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
        Client::new(asked, None, 1000, Instant::now())
    }

    #[test]
    fn messages_of_ours_are_forgotten_one_by_one() {
        let mut client = client();
        for ts in 0..3 {
            client.queue_message(&ServerMessage::Pong { ts: UnixNanos::from_secs(ts), correlation_id: None });
        }
        client.drop_notices(2);
        let left: Vec<&[u8]> = frame::split(&client.notices).map(frame::payload).collect();
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
        let notices = String::from_utf8_lossy(&client.notices).into_owned();
        assert!(
            notices.contains("\"seq_internal\":1,") && notices.contains("\"seq_internal\":2,"),
            "{notices}"
        );
    }
}
