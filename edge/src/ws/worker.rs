//! A thread that owns a share of the connections: it waits for sockets, rings and timers, and passes over who has something due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_supervise::Watch;
use mio::{Events, Interest, Poll, Token};

use super::connection::{Carried, Connection};
use super::fast_path::{self, RunCache, TurnOutcome};
use super::feed_turn;
use super::post::{Post, WorkerMessage};
use super::shared::Shared;
use crate::delivery::feed::Scratch;
use crate::delivery::follow::{Moment, Tally};
use crate::delivery::followers::Followers;
use crate::delivery::mailbox::Notice;
use crate::delivery::roster::Roster;

/// The token of the mailbox's waker. Connections have the roster's ids, which stay below.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// How many sockets are taken in one look.
const EVENTS: usize = 1024;

/// How often heartbeats, stalled clients and expired tokens are looked after.
const TICK: Duration = Duration::from_millis(500);

/// How often it is looked at how far clients lag behind: a walk over all of them.
const LAG_LOOK: Duration = Duration::from_secs(5);

/// After so many connections of a pass the time is read anew.
const CLOCK_USES: usize = 64;

/// One worker.
pub(crate) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    post: Arc<Post>,
    pub(super) poll: Poll,
    pub(super) connections: Roster<Connection>,
    pub(super) now: Instant,
    began: Instant,
    /// Who gets a turn without further news.
    pub(super) ready: Vec<usize>,
    pub(super) scratch: Vec<u8>,
    pub(super) followers: Followers,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    next_tick: Instant,
    next_lag_look: Instant,
    cache: RunCache,
    bench: Scratch,
    stopped: bool,
    /// Of the keys that connections were last held against.
    pub(super) keys_version: u64,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, post: Arc<Post>, poll: Poll) -> Self {
        let now = Instant::now();
        Self {
            index,
            shared,
            post,
            poll,
            connections: Roster::default(),
            now,
            began: now,
            ready: Vec::new(),
            scratch: vec![0; 64 * 1024],
            followers: Followers::new(index),
            timers: BinaryHeap::new(),
            next_tick: now + TICK,
            next_lag_look: now + TICK,
            cache: RunCache::default(),
            bench: Scratch::default(),
            stopped: false,
            keys_version: 0,
        }
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, watch: &Watch) {
        let mut events = Events::with_capacity(EVENTS);
        let (mut news, mut advanced) = (Vec::new(), Vec::new());
        while !self.stopped {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "a fan-out worker cannot wait for sockets");
                    return;
                }
                _ => {}
            }
            watch.check();
            self.now = Instant::now();
            self.post.mailbox.take(&mut news, &mut advanced);
            events.iter().for_each(|event| self.on_socket(event));
            // A connection that was handed over before a stream ended is there to be told of it.
            self.post.take().into_iter().for_each(|message| self.on_message(message));
            news.drain(..).for_each(|news| self.on_news(&news));
            advanced.drain(..).for_each(|ring| self.pass(ring));
            self.give_turns();
            self.on_time();
            self.bench.counts.flush(&self.shared.hub.figures);
        }
    }

    fn timeout(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let timer = self.timers.peek().map_or(self.next_tick, |Reverse((at, _))| self.next_tick.min(*at));
        timer.saturating_duration_since(Instant::now())
    }

    fn on_message(&mut self, message: WorkerMessage) {
        match message {
            WorkerMessage::Adopt(newcomer) => self.adopt(*newcomer),
            WorkerMessage::Disconnect(user) => self.disconnect(&user),
            WorkerMessage::Drain => self.drain(),
            WorkerMessage::Stop => self.stopped = true,
        }
    }

    fn on_news(&mut self, news: &Notice) {
        match news {
            Notice::Began(topic) => self.on_began(topic),
            Notice::StreamEnded(id) => self.on_stream_ended(id),
        }
    }

    /// Gives every follower of a ring that has news its turn.
    fn pass(&mut self, id: u64) {
        let Some((ring, connections)) = self.followers.take(id) else { return };
        self.cache.clear();
        let mut tally = Tally::default();
        for group in connections.chunks(CLOCK_USES) {
            self.now = Instant::now();
            group.iter().for_each(|connection| self.turn_on_news(*connection, id, &mut tally));
        }
        self.followers.put_back(id, connections);
        if let Topic::Stream(stream) = &ring.topic {
            self.shared.count(Some(stream), &tally);
        }
    }

    fn turn_on_news(&mut self, id: usize, ring: u64, tally: &mut Tally) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        match &mut connection.carried {
            Carried::Stream { .. } => {
                if connection.blocked {
                    return;
                }
                let mut moment = Moment { clock: &*self.shared.clock, now: self.now, tally };
                if fast_path::deliver(connection, &mut self.cache, &mut moment) != TurnOutcome::Done {
                    self.ready.push(id);
                }
            }
            Carried::Feed(feed) => {
                feed.mark(ring);
                if !std::mem::replace(&mut feed.queued, true) {
                    self.ready.push(id);
                }
            }
            Carried::Nothing => {}
        }
    }

    fn give_turns(&mut self) {
        self.cache.clear();
        for id in std::mem::take(&mut self.ready) {
            self.turn(id);
            if self.connections.get(id).is_some_and(|c| c.unread && c.outbox.is_empty()) {
                self.read(id);
            }
        }
    }

    /// One turn of one connection, unless it has gone.
    pub(super) fn turn(&mut self, id: usize) {
        let mut tally = Tally::default();
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut moment = Moment { clock: &*self.shared.clock, now: self.now, tally: &mut tally };
        let (turn, timer) = match &mut connection.carried {
            Carried::Stream { .. } => (fast_path::deliver(connection, &mut self.cache, &mut moment), None),
            Carried::Feed(feed) => {
                feed.queued = false;
                feed_turn::deliver(connection, &mut self.bench, &mut moment)
            }
            Carried::Nothing => {
                (connection.flush(self.now).map_or(TurnOutcome::Broken, |_| TurnOutcome::Done), None)
            }
        };
        self.shared.count(connection.carried.stream(), &tally);
        match turn {
            TurnOutcome::Done => {}
            TurnOutcome::More => self.queue(id),
            TurnOutcome::Broken => return self.remove(id),
        }
        if let Some(at) = timer {
            self.set_timer(id, at);
        }
    }

    fn queue(&mut self, id: usize) {
        if let Some(Carried::Feed(feed)) = self.carried(id) {
            feed.queued = true;
        }
        self.ready.push(id);
    }

    fn set_timer(&mut self, id: usize, at: Instant) {
        let Some(Carried::Feed(feed)) = self.carried(id) else { return };
        if feed.timer.is_none_or(|timer| at < timer) {
            feed.timer = Some(at);
            self.timers.push(Reverse((at, id)));
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((_, id))) = self.timers.peek().filter(|Reverse((at, _))| *at <= now).copied() {
            self.timers.pop();
            if let Some(Carried::Feed(feed)) = self.carried(id) {
                feed.timer = None;
                if !std::mem::replace(&mut feed.queued, true) {
                    self.ready.push(id);
                }
            }
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
            self.look_at_lags(now);
        }
    }

    /// Looks now and then how far the slowest client of topics lags behind: one that takes nothing gets no turn in which to look.
    fn look_at_lags(&mut self, now: Instant) {
        if now < self.next_lag_look {
            return;
        }
        self.next_lag_look = now + LAG_LOOK;
        let lags = self.connections.iter().filter_map(|(_, connection)| match &connection.carried {
            Carried::Feed(feed) => Some(feed.lag()),
            Carried::Stream { .. } | Carried::Nothing => None,
        });
        self.shared.hub.figures.lag(self.index, lags.max().unwrap_or_default());
    }

    /// The time by a clock of this worker's own, which never goes back.
    pub(super) fn moment(&self) -> UnixNanos {
        UnixNanos::EPOCH.plus(self.now.duration_since(self.began))
    }

    pub(super) fn register(&mut self, connection: Connection) -> io::Result<usize> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        self.connections.insert(connection, |id, connection| {
            registry.register(&mut connection.socket, Token(id), interest)
        })
    }

    /// What a connection carries; `None` where it has gone.
    pub(super) fn carried(&mut self, id: usize) -> Option<&mut Carried> {
        self.connections.get_mut(id).map(|connection| &mut connection.carried)
    }
}
