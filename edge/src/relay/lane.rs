//! A lane: it serves a share of the connections, with one invocation at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::code::Code;
use bond_core::connection::ConnectionId;
use bond_core::control::Command;
use bond_core::cursors::LaneCursors;
use bond_core::message::MessageError;
use bond_core::time::UnixNanos;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Closing, Standing};
use super::invocation_result::UnderWay;
use super::maintenance::{Chore, Chores};
use super::pause::Pause;
use super::poison_search::Search;
use super::shared::{RelayShared, now};
use crate::delivery::TOO_SLOW;
use crate::delivery::feed::Scratch;
use crate::delivery::followers::Followers;
use crate::delivery::mailbox::{Mailbox, Notice};
use crate::delivery::roster::Roster;

/// How often deadlines (heartbeats, expired tokens) and chores are checked.
const TICK: Duration = Duration::from_secs(1);

/// One lane.
pub(super) struct Lane {
    pub(super) index: u16,
    pub(super) shared: Arc<RelayShared>,
    pub(super) clients: Roster<Client>,
    pub(super) ids: HashMap<ConnectionId, usize>,
    pub(super) followers: Followers,
    pub(super) ready: VecDeque<usize>,
    pub(super) scratch: Scratch,
    pub(super) under_way: Option<UnderWay>,
    /// The number of invocations begun so far.
    pub(super) invocations: u64,
    /// No invocation begins before this time.
    pub(super) free_at: Instant,
    pub(super) backoff: Pause,
    pub(super) search: Search,
    pub(super) chores: Chores,
    pub(super) running: JoinSet<Chore>,
    /// The time, by API Gateway's clock, up to which all requests of clients are known.
    pub(super) known_until: UnixNanos,
    /// The positions that the previous relay saved, until the connections were restored.
    pub(super) restored: Option<Arc<LaneCursors>>,
    pub(super) now: Instant,
    mailbox: Arc<Mailbox>,
    commands: mpsc::Receiver<Command>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    next_tick: Instant,
}

impl Lane {
    pub(super) fn new(
        index: u16,
        shared: Arc<RelayShared>,
        mailbox: Arc<Mailbox>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let now = now();
        Self {
            index,
            clients: Roster::default(),
            ids: HashMap::new(),
            followers: Followers::new(usize::from(index)),
            ready: VecDeque::new(),
            scratch: Scratch::default(),
            under_way: None,
            invocations: 0,
            free_at: now,
            backoff: Pause::lane(),
            search: Search::new(),
            chores: Chores::new(index, now),
            running: JoinSet::new(),
            known_until: UnixNanos::EPOCH,
            restored: None,
            now,
            mailbox,
            commands,
            timers: BinaryHeap::new(),
            next_tick: now + TICK,
            shared,
        }
    }

    /// Serves the connections until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        if stop.run_until_cancelled(self.restore()).await.is_none() {
            return;
        }
        loop {
            self.now = now();
            self.begin_invocation();
            let wake_at = tokio::time::Instant::from_std(self.wake_at());
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.mailbox.woken() => self.on_news(),
                Some(command) = self.commands.recv() => self.on_command(command),
                outcome = UnderWay::outcome(&mut self.under_way) => self.on_outcome(outcome),
                Some(done) = self.running.join_next() => self.on_done(done),
                () = tokio::time::sleep_until(wake_at) => self.on_time(),
            }
        }
        self.finish().await;
    }

    /// Waits for the invocation in flight, and saves all positions.
    async fn finish(mut self) {
        if self.under_way.is_some() {
            let outcome = UnderWay::outcome(&mut self.under_way).await;
            self.on_outcome(outcome);
        }
        // A chore that still runs could overwrite the positions that are saved now.
        while self.running.join_next().await.is_some() {}
        self.save_now().await;
    }

    fn wake_at(&self) -> Instant {
        let timer = self.timers.peek().map_or(self.next_tick, |Reverse((at, _))| self.next_tick.min(*at));
        if self.under_way.is_some() || self.ready.is_empty() { timer } else { timer.min(self.free_at) }
    }

    fn on_news(&mut self) {
        let (mut news, mut advanced) = (Vec::new(), Vec::new());
        self.mailbox.take(&mut news, &mut advanced);
        self.now = now();
        for news in news {
            match news {
                Notice::Began(topic) => self.on_began(&topic),
                Notice::StreamEnded(id) => self.on_stream_ended(&id),
            }
        }
        advanced.into_iter().for_each(|ring| self.on_advanced(ring));
    }

    /// Queues every follower of a ring that has new items.
    fn on_advanced(&mut self, ring: u64) {
        let Some((_, clients)) = self.followers.take(ring) else { return };
        for key in &clients {
            if let Some(client) = self.clients.get_mut(*key) {
                client.feed.mark(ring);
                self.queue(*key);
            }
        }
        self.followers.put_back(ring, clients);
    }

    /// Queues a client for the next invocation, unless it is queued already or has left. If the client is in a pause, it is queued after
    /// the pause. If an invocation is posting to it, it is queued after that.
    pub(super) fn queue(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match &mut client.standing {
            Standing::Idle => match client.backoff.until().filter(|until| *until > self.now) {
                Some(until) => self.set_timer(key, until),
                None => {
                    client.standing = Standing::Queued;
                    self.ready.push_back(key);
                }
            },
            Standing::UnderWay { news } => *news = true,
            Standing::Queued => {}
        }
    }

    /// Sets a timer that queues a client at `at`.
    pub(super) fn set_timer(&mut self, key: usize, at: Instant) {
        let Some(Client { feed, .. }) = self.clients.get_mut(key) else { return };
        if feed.timer.is_none_or(|timer| at < timer) {
            feed.timer = Some(at);
            self.timers.push(Reverse((at, key)));
        }
    }

    fn on_time(&mut self) {
        self.now = now();
        while let Some(Reverse((_, key))) = self.timers.peek().filter(|Reverse((at, _))| *at <= self.now) {
            let key = *key;
            self.timers.pop();
            if let Some(client) = self.clients.get_mut(key) {
                client.feed.timer = None;
                self.queue(key);
            }
        }
        if self.now >= self.next_tick {
            self.next_tick = self.now + TICK;
            self.tick();
        }
    }

    /// Checks the deadlines of all clients, and begins the chores that are due.
    fn tick(&mut self) {
        let clock = self.shared.parts.ports.clock.now();
        for key in self.clients.ids(|client| client.is_due(&self.shared, clock)) {
            self.check_deadlines(key, clock);
        }
        self.give_up_stalled();
        self.measure_lag();
        self.begin_chores();
    }

    /// Queues a client's heartbeat if it is due, and closes the client if it has to go.
    fn check_deadlines(&mut self, key: usize, clock: UnixNanos) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.heartbeat_at.is_some_and(|at| at <= clock) {
            client.heartbeat(self.shared.config.heartbeat, clock, &self.shared.parts.ports.board);
        }
        match client.ending(&self.shared, clock) {
            Some(closing) if closing.is_abrupt() => client.give_up(closing, clock),
            Some(closing) => client.close(closing, clock),
            None => {}
        }
        if let Some(end) = client.unwarned_end(clock) {
            client.warn(end, clock);
        }
        self.queue(key);
    }

    fn give_up_stalled(&mut self) {
        let (now, stall) = (self.now, self.shared.config.stall);
        let clock = self.shared.parts.ports.clock.now();
        let stalled = self.clients.iter_mut().filter(|(_, client)| client.is_stalled(now, stall));
        let keys: Vec<usize> =
            stalled.map(|(key, client)| (client.give_up(Closing::TooSlow, clock), key).1).collect();
        for key in keys {
            metrics::counter!("bond_relay_stalled_total").increment(1);
            self.queue(key);
        }
    }
}

impl Client {
    fn is_due(&self, shared: &RelayShared, clock: UnixNanos) -> bool {
        self.heartbeat_at.is_some_and(|at| at <= clock)
            || self.ending(shared, clock).is_some()
            || self.unwarned_end(clock).is_some()
    }

    /// The reason to close the connection now, if there is one and it is not being closed already.
    fn ending(&self, shared: &RelayShared, clock: UnixNanos) -> Option<Closing> {
        let Self { asked, closing, .. } = self;
        let revoked = &shared.parts.revoked;
        if closing.is_some_and(Closing::is_abrupt) {
            None
        } else if asked.holder.as_ref().is_some_and(|holder| revoked.is_revoked(holder, asked.opened_at)) {
            Some(Closing::Revoked)
        } else if asked.is_dismissed() {
            Some(Closing::TooMuch)
        } else {
            let is_expired = closing.is_none() && asked.expires_at.is_some_and(|at| at <= clock);
            is_expired.then_some(Closing::Expired)
        }
    }

    /// Gives up on a client: drops all that waits for it, and closes it with the reason alone.
    fn give_up(&mut self, closing: Closing, clock: UnixNanos) {
        self.clear_notices();
        self.backoff.reset();
        self.closing = None;
        self.close(closing, clock);
    }

    /// Marks the connection to be closed. API Gateway does not let us choose the close code. Therefore an `error` message with the
    /// reason goes first, if control is on.
    pub(super) fn close(&mut self, closing: Closing, clock: UnixNanos) {
        if self.closing.replace(closing).is_some() || !self.asked.control {
            return;
        }
        let error = match closing {
            Closing::Expired => {
                MessageError::new(Code::AuthExpired, "the token has expired; connect again with a new one")
            }
            Closing::StreamEnded => {
                MessageError::new(Code::NotFound, "the stream has ended; create it again")
            }
            Closing::TooSlow => MessageError::new(Code::SlowConsumer, TOO_SLOW),
            Closing::Revoked => MessageError::new(Code::AuthInvalid, "the key has been revoked"),
            Closing::TooMuch => {
                let advice = "too many messages for too long; connect again and keep to 20 a second";
                MessageError::new(Code::RateLimitExceeded, advice)
            }
        };
        self.queue_error(&error, clock);
    }
}
