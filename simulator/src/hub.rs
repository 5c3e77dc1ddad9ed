//! The middle of a simulator: one lock around feed, connections and faults, so that everything has a definite order.

mod connection;
mod delivery;
mod state;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, UnixNanos};
use crate::config::Config;
use crate::fault::{Effect, Fault, FaultId, Moment};
use crate::frame::Class;
use crate::journal::{Entry, Journal, Stats};
use crate::rest::{Answer, Request};
use crate::source::Source;
use crate::venue::{self, Client, Opening, Output, Protocol};
use connection::Connection;
pub(crate) use connection::Outgoing;
use state::State;

/// A frame as it was sent, for tests that compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFrame {
    /// When, in Unix nanoseconds.
    pub at: u64,
    /// Its stream.
    pub stream: String,
    /// The id it carries: of the last trade in it, or the book's update id.
    pub id: String,
    /// The frame, without a combined wrapper.
    pub text: String,
}

pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) journal: Arc<Journal>,
    protocol: Box<dyn Protocol>,
    state: Mutex<State>,
    /// Rung when something new is due earlier than the feed expects.
    pub(crate) wake: Notify,
}

/// What a session holds of its connection.
pub(crate) struct Ticket {
    pub(crate) id: u64,
    pub(crate) outgoing: mpsc::Receiver<Outgoing>,
    /// Cancelled when the connection must end without a word.
    pub(crate) kill: CancellationToken,
}

impl Hub {
    pub(crate) fn new(config: Config, source: Source, clock: Clock) -> Self {
        let journal = Arc::new(Journal::default());
        let hub = Self {
            protocol: venue::protocol(&config),
            state: Mutex::new(State::new(source, journal.clone(), config.record)),
            wake: Notify::new(),
            config,
            clock,
            journal,
        };
        for fault in &hub.config.faults {
            hub.inject(fault);
        }
        hub
    }

    /// Sends what is due; answers when to come again.
    pub(crate) fn advance(&self) -> Option<UnixNanos> {
        let now = self.clock.now();
        self.state.lock().advance(now)
    }

    /// Whether a WebSocket exists at this address.
    pub(crate) fn opening(&self, path: &str, query: &str) -> Option<Opening> {
        self.protocol.open(path, query)
    }

    /// Takes a WebSocket in.
    pub(crate) fn connect(&self, opening: Opening, path: String) -> Ticket {
        let (queue, outgoing) = mpsc::channel(self.config.queue.max(16));
        let kill = CancellationToken::new();
        let now = self.clock.now();
        let mut state = self.state.lock();
        let streams = opening.streams.clone();
        let id = state.add(|id| Connection::new(Client::new(id, opening), queue, kill.clone()));
        self.journal.write(Entry::Connected { connection: id, path });
        if !streams.is_empty() {
            self.subscribe(&mut state, id, streams, now);
        }
        Ticket { id, outgoing, kill }
    }

    pub(crate) fn disconnect(&self, connection: u64, reason: &str) {
        self.state.lock().remove(connection, reason);
    }

    /// Counts a ping or message against the venue's limit; answers whether it was one too many.
    pub(crate) fn floods(&self, connection: u64) -> bool {
        let Some(limit) = self.protocol.inbound_per_second() else {
            return false;
        };
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.client(connection).is_some_and(|client| client.exceeds(limit, 1_000_000_000, now))
    }

    /// Does what a text message asks for.
    pub(crate) fn receive(&self, connection: u64, text: &str) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.advance(now);
        for output in self.outputs(&mut state, connection, text, now) {
            self.carry_out(&mut state, connection, output, now);
        }
    }

    fn outputs(&self, state: &mut State, connection: u64, text: &str, now: UnixNanos) -> Vec<Output> {
        let State { source, connections, .. } = state;
        let Some(connection) = connections.get_mut(&connection) else {
            return Vec::new();
        };
        self.protocol.receive(&mut connection.client, text, &|name| source.lists(name), now)
    }

    fn carry_out(&self, state: &mut State, connection: u64, output: Output, now: UnixNanos) {
        match output {
            Output::Reply(text) => state.reply(connection, text),
            Output::Reject(text) => self.reject(state, connection, text),
            Output::Close { code, reason } => state.close(connection, code, reason),
            Output::Unsubscribe { streams, ack } => {
                state.unsubscribe(connection, &streams);
                self.journal.write(Entry::Unsubscribed { connection, streams });
                state.reply(connection, ack);
            }
            Output::Subscribe { streams, ack, refusals } => {
                self.acknowledge(state, connection, streams, ack, refusals, now);
            }
        }
    }

    fn reject(&self, state: &mut State, connection: u64, reply: String) {
        self.journal.write(Entry::Rejected { connection, reply: reply.clone() });
        state.reply(connection, reply);
    }

    fn acknowledge(
        &self,
        state: &mut State,
        connection: u64,
        streams: Vec<String>,
        ack: String,
        mut refusals: Vec<String>,
        now: UnixNanos,
    ) {
        match self.acknowledgement_fault(state, &streams, now) {
            None => state.reply(connection, ack),
            Some((at, Effect::RefuseSubscription)) => {
                return self.reject(state, connection, refusals.swap_remove(at));
            }
            Some((_, Effect::AckLate(time))) => state.reply_later(connection, ack, now, time),
            Some((_, Effect::AckAfterData)) => state.reply_after_data(connection, &streams, ack),
            Some(_) => {}
        }
        self.subscribe(state, connection, streams, now);
    }

    /// The first fault that concerns one of the streams, and which.
    fn acknowledgement_fault(
        &self,
        state: &mut State,
        streams: &[String],
        now: UnixNanos,
    ) -> Option<(usize, Effect)> {
        let (at, fault, effect) = streams.iter().enumerate().find_map(|(at, stream)| {
            let taken = state.faults.take(Moment::Acknowledgement, stream, Class::of(stream), now);
            taken.map(|(fault, effect)| (at, fault, effect))
        })?;
        let stream = streams[at].clone();
        self.journal.write(Entry::Applied { fault, stream, id: String::new(), text: String::new() });
        Some((at, effect))
    }

    fn subscribe(&self, state: &mut State, connection: u64, streams: Vec<String>, now: UnixNanos) {
        state.source.start(now.saturating_add(crate::clock::nanos(self.config.start_after)));
        for stream in &streams {
            state.subscribe(connection, stream, now, |opening| self.protocol.carries(opening, stream));
        }
        self.journal.write(Entry::Subscribed { connection, streams });
        self.wake.notify_one();
    }

    /// Answers a REST request.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.advance(now);
        match state.faults.take(Moment::Rest, &request.path, Class::Other, now) {
            Some((fault, Effect::TooManyRequests(after))) => {
                self.note_request(fault, &request.path);
                Answer {
                    retry_after: Some(after),
                    ..Answer::new(429, r#"{"code":-1003,"msg":"Too many requests."}"#)
                }
            }
            Some((fault, Effect::SlowRest(wait))) => {
                self.note_request(fault, &request.path);
                Answer { wait, ..state.source.answer(request, now) }
            }
            _ => state.source.answer(request, now),
        }
    }

    /// Whether a connection or request is turned away now.
    pub(crate) fn turns_away(&self, moment: Moment, path: &str) -> bool {
        let now = self.clock.now();
        let taken = self.state.lock().faults.take(moment, path, Class::Other, now);
        if let Some((fault, _)) = &taken {
            self.note_request(*fault, path);
        }
        taken.is_some()
    }

    fn note_request(&self, fault: FaultId, path: &str) {
        let entry = Entry::Applied { fault, stream: path.to_owned(), id: String::new(), text: String::new() };
        self.journal.write(entry);
    }

    /// Puts a fault in force; what happens at once has happened on return.
    pub(crate) fn inject(&self, fault: &Fault) -> FaultId {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let id = state.faults.add(fault.clone(), now);
        self.journal.write(Entry::Injected { fault: id, text: fault.to_string() });
        if fault.effect.is_immediate() {
            state.strike(id, fault, |client| self.protocol.notice(client, now));
        }
        id
    }

    pub(crate) fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.state.lock().stats()
    }

    pub(crate) fn sent(&self) -> Vec<SentFrame> {
        self.state.lock().sent.iter().cloned().collect()
    }
}
