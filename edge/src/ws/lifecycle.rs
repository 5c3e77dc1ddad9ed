//! How connections come, live on through quiet times, and go.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bond_core::code::{CloseCode, Code};
use bond_core::connection::{Batch, FeedRequest, FeedState};
use bond_core::message::{ServerMessage, envelope, to_json};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use metrics::counter;

use super::connection::{Carried, Connection, Purpose, UpgradedSocket};
use super::shared::Limits;
use super::worker::Worker;
use crate::delivery::TOO_SLOW;
use crate::delivery::feed::{Feed, Scope};
use crate::delivery::figures::Told;
use crate::delivery::follow::Follow;

/// The span over which clients are asked to come back after a shutdown.
const RECONNECT_SPREAD_MS: u64 = 5_000;

/// After how many pings without any answer a client is taken for gone.
pub(crate) const MISSED_PONGS: u32 = 2;

/// What a client is told that begins a message and does not end it.
pub(crate) const UNFINISHED: &str = "a message was begun and not ended in time: send it at once";

/// What a client is told whose key was taken back.
pub(crate) const REVOKED: &str =
    "the API key by which this was opened is revoked; connect again with another";

impl Worker {
    /// Takes over a socket that was just upgraded.
    pub(super) fn adopt(&mut self, newcomer: UpgradedSocket) {
        let UpgradedSocket { socket, leftover, purpose, control, batch, has_deflate, errors, grant, seat } =
            newcomer;
        let socket = mio::net::TcpStream::from_std(socket);
        let mut connection = Connection::new(socket, seat, self.now);
        (connection.expires_at, connection.holder) = (grant.expires_at, grant.holder);
        let Ok(id) = self.register(connection) else { return };
        match purpose {
            Purpose::Refused { code, reason } => self.close(id, code, &reason),
            Purpose::Stream { id: stream, follow } => {
                self.begin_stream(id, stream, follow, batch, has_deflate);
            }
            Purpose::Feed { wish } => self.begin_feed(id, wish, batch),
            Purpose::Topics(topics) => self.begin_topics(id, *topics, batch),
            Purpose::RefusedTopics(refusal) => self.refuse_topics(id, &refusal),
        }
        if has_deflate {
            self.begin_deflate(id);
        }
        if control {
            self.turn_control_on(id);
        }
        // The key may have been revoked since it was looked at.
        self.close_if_revoked(id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let listens = control || connection.carried.is_filtered();
        for error in errors.iter().filter(|_| listens) {
            connection.say(&to_json(&ServerMessage::error(error, None)));
        }
        self.ready.push(id);
        if !leftover.is_empty() {
            self.take_bytes(id, &leftover);
        }
    }

    fn begin_stream(
        &mut self,
        id: usize,
        stream: StreamId,
        follow: Follow,
        batch: Option<Batch>,
        has_deflate: bool,
    ) {
        self.followers.attend(id, &follow.ring);
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.carried = match batch {
            None if !has_deflate => Carried::Stream { id: stream, follow },
            _ => {
                let mut feed = Feed::new(Scope::Stream(stream), batch);
                feed.add(follow, self.now);
                Carried::Feed(Box::new(feed))
            }
        };
    }

    fn begin_feed(&mut self, id: usize, wish: Option<FeedRequest>, batch: Option<Batch>) {
        let scope = Scope::unasked(self.shared.name_feed());
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.carried = Carried::Feed(Box::new(Feed::new(scope, batch)));
        self.shared.feeds.fetch_add(1, Ordering::Relaxed);
        self.heartbeat(id);
        if wish.is_some() {
            self.serve(id, &FeedState { wish, ..FeedState::default() });
        }
    }

    pub(super) fn on_stream_ended(&mut self, stream: &StreamId) {
        for id in self.connections.ids(|connection| connection.carried.stream() == Some(stream)) {
            self.turn(id);
            self.close(id, CloseCode::StreamEnded, "the stream has ended; create it again");
        }
    }

    /// Says goodbye to everyone, spread over time so that not all come back at once.
    pub(super) fn drain(&mut self) {
        for id in self.connections.ids(|connection| connection.closing.is_none()) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            if connection.topics.is_some() {
                let json = envelope::reconnect("shutdown", reconnect_after(id), self.shared.clock.now());
                connection.say(&json);
            } else if connection.control {
                let after_ms = reconnect_after(id);
                connection.say(&to_json(&ServerMessage::Reconnect { after_ms, reason: "shutdown" }));
            }
            self.close(id, CloseCode::GoingAway, "shutdown: connect again and resume");
        }
    }

    /// Turns heartbeats, statuses, gaps and reconnects on.
    pub(super) fn turn_control_on(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !std::mem::replace(&mut connection.control, true) && connection.heartbeat_at.is_none() {
            self.heartbeat(id);
        }
    }

    /// Sends a heartbeat now, and has the next one sent in its time.
    fn heartbeat(&mut self, id: usize) {
        let clock = self.shared.clock.now();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.topics.is_some() {
            connection.heartbeat_at = Some(self.now + self.shared.limits.heartbeat);
            self.shared.hub.figures.tell(Told::Heartbeat);
            return connection.say(&envelope::heartbeat(clock));
        }
        let sources = match connection.carried.stream() {
            Some(stream) => self.shared.board.for_stream(stream),
            None => self.shared.board.for_feed(connection.carried.filter()),
        };
        connection.heartbeats += 1;
        connection.heartbeat_at = Some(self.now + self.shared.limits.heartbeat);
        connection.say(&to_json(&ServerMessage::heartbeat(connection.heartbeats, clock, &sources)));
    }

    /// Asks for a sign of life.
    fn ping(&mut self, id: usize) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.pings += 1;
            connection.ping();
        }
    }

    /// Looks after everyone's deadlines.
    pub(super) fn tick(&mut self, now: Instant) {
        self.now = now;
        self.close_revoked();
        let (limits, clock) = (self.shared.limits, self.shared.clock.now());
        for id in self.connections.ids(|connection| connection.is_due(now, &limits, clock)) {
            self.see_to(id, now, clock);
        }
    }

    /// Closes, once keys have changed, what was opened by those that are gone.
    fn close_revoked(&mut self) {
        let version = self.shared.admission.version();
        if std::mem::replace(&mut self.keys_version, version) != version {
            self.connections
                .ids(|connection| connection.holder.is_some())
                .into_iter()
                .for_each(|id| self.close_if_revoked(id));
        }
    }

    fn close_if_revoked(&mut self, id: usize) {
        let Some(connection) = self.connections.get(id) else { return };
        if connection.holder.as_ref().is_some_and(|holder| !self.shared.admission.holds(holder)) {
            let reason = format!("{}: {REVOKED}", Code::AuthInvalid);
            self.close(id, CloseCode::PolicyViolation, &reason);
        }
    }

    fn see_to(&mut self, id: usize, now: Instant, clock: UnixNanos) {
        let Limits { stall, silence, unfinished, .. } = self.shared.limits;
        let Some(connection) = self.connections.get(id) else { return };
        if connection.closing.is_some_and(|deadline| deadline <= now) {
            self.remove(id);
        } else if connection.is_stalled(now, stall) {
            self.close(id, CloseCode::SlowConsumer, TOO_SLOW);
        } else if connection.is_silent(now, silence) && connection.pings >= MISSED_PONGS {
            self.close(id, CloseCode::Idle, "no pong came: connect again and resume");
        } else if connection.is_unfinished(now, unfinished) {
            self.close(id, CloseCode::PolicyViolation, UNFINISHED);
        } else if connection.expires_at.is_some_and(|at| at <= clock) {
            self.tell_expiry(id, clock);
            let reason =
                format!("{}: the token has expired; connect again with a new one", Code::AuthExpired);
            self.close(id, CloseCode::PolicyViolation, &reason);
        } else {
            self.warn_of_expiry(id, clock);
            let Some(connection) = self.connections.get(id) else { return };
            if connection.is_silent(now, silence) {
                self.ping(id);
            }
            if self.connections.get(id).is_some_and(|connection| connection.wants_heartbeat(now)) {
                self.heartbeat(id);
            }
            self.turn(id);
        }
    }

    /// Sends a close and waits a little for the answer. Where the socket is dead already, the connection has gone afterwards.
    pub(super) fn close(&mut self, id: usize, code: CloseCode, reason: &str) {
        if self.connections.get(id).is_none_or(|connection| connection.closing.is_some()) {
            return;
        }
        counter!("bond_connections_closed_total", "code" => code.number().to_string()).increment(1);
        self.let_go(id);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.close(code, reason, self.now);
        }
        self.turn(id);
    }

    /// Has a connection follow nothing any more.
    fn let_go(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let carried = std::mem::replace(&mut connection.carried, Carried::Nothing);
        for ring in carried.rings() {
            self.followers.leave(id, ring);
        }
        if let Carried::Feed(feed) = carried {
            if feed.asked().is_some() {
                self.shared.feeds.fetch_sub(1, Ordering::Relaxed);
            }
            feed.give_up(&self.shared.leases, connection.holder.as_ref());
        }
    }

    /// Drops a connection.
    pub(super) fn remove(&mut self, id: usize) {
        self.let_go(id);
        let Some(mut connection) = self.connections.remove(id) else { return };
        // Fails only for a socket that is gone already.
        let _ = self.poll.registry().deregister(&mut connection.socket);
        connection.abandon();
    }
}

/// When a client is asked to come back: spread by its id.
const fn reconnect_after(id: usize) -> u64 {
    let spread = (id as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    100 + spread % RECONNECT_SPREAD_MS
}

impl Connection {
    fn is_due(&self, now: Instant, limits: &Limits, clock: UnixNanos) -> bool {
        match self.closing {
            Some(deadline) => deadline <= now,
            None => {
                self.is_stalled(now, limits.stall)
                    || self.wants_heartbeat(now)
                    || self.is_silent(now, limits.silence)
                    || self.is_unfinished(now, limits.unfinished)
                    || self.expires_at.is_some_and(|at| at <= clock)
                    || self.is_about_to_expire(clock)
            }
        }
    }

    fn wants_heartbeat(&self, now: Instant) -> bool {
        self.heartbeat_at.is_some_and(|at| at <= now)
    }

    /// Whether it is time for a ping, or the time for its pong has passed.
    fn is_silent(&self, now: Instant, silence: Duration) -> bool {
        now.duration_since(self.heard_at) >= silence * (self.pings + 1)
    }

    /// Whether a message has been on its way for too long. One that we have not looked at is not the client's fault.
    fn is_unfinished(&self, now: Instant, unfinished: Duration) -> bool {
        !self.unread && self.inbox.begun().is_some_and(|begun| now.duration_since(begun) >= unfinished)
    }

    fn is_stalled(&self, now: Instant, stall: Duration) -> bool {
        self.blocked && now.duration_since(self.blocked_since) >= stall
    }

    /// Has the kernel forget what a client did not take, instead of keeping it for minutes.
    fn abandon(&self) {
        if self.blocked {
            let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
    }
}
