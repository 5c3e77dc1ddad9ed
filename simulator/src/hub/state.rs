//! What the lock protects: the feed, who is connected and to what, and the faults in force.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::SentFrame;
use super::connection::{Connection, Outgoing};
use super::delivery::Later;
use crate::clock::{MILLI, UnixNanos};
use crate::fault::{ActiveFaults, Effect, Fault, FaultId, Filter};
use crate::frame::{Class, Frame, Interest, Outlet};
use crate::journal::{Entry, Journal, Stats, StreamStats};
use crate::source::{Progress, Source};
use crate::venue::{Client, Opening};

/// A replay waits so long for a client that does not read, then disconnects it.
const PATIENCE: u64 = 5_000 * MILLI;
#[derive(Debug)]
pub(super) struct State {
    pub(super) source: Source,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) faults: ActiveFaults,
    pub(super) sent: VecDeque<SentFrame>,
    pub(super) interest: Interest,
    /// The first of two frames to be swapped.
    pub(super) swapped: HashMap<Arc<str>, (Frame, Vec<u64>)>,
    pub(super) later: BTreeMap<(UnixNanos, u64), Later>,
    pub(super) later_count: u64,
    pub(super) streams: BTreeMap<Arc<str>, StreamStats>,
    pub(super) last_connection: u64,
    /// Since when a full queue has held up the replay.
    pub(super) stalled_since: Option<UnixNanos>,
    pub(super) journal: Arc<Journal>,
    pub(super) record: usize,
    pub(super) now: UnixNanos,
}

impl State {
    pub(super) fn new(source: Source, journal: Arc<Journal>, record: usize) -> Self {
        Self {
            source,
            journal,
            record,
            connections: BTreeMap::new(),
            faults: ActiveFaults::default(),
            sent: VecDeque::new(),
            interest: Interest::default(),
            swapped: HashMap::new(),
            later: BTreeMap::new(),
            later_count: 0,
            streams: BTreeMap::new(),
            last_connection: 0,
            stalled_since: None,
            now: 0,
        }
    }

    pub(super) fn add(&mut self, connection: impl FnOnce(u64) -> Connection) -> u64 {
        self.last_connection += 1;
        let id = self.last_connection;
        self.connections.insert(id, connection(id));
        id
    }

    pub(super) fn client(&mut self, connection: u64) -> Option<&mut Client> {
        self.connections.get_mut(&connection).map(|connection| &mut connection.client)
    }

    pub(super) fn remove(&mut self, connection: u64, reason: &str) {
        let Some(removed) = self.connections.remove(&connection) else {
            return;
        };
        for stream in &removed.client.streams {
            self.interest.remove(stream, connection);
        }
        self.journal.write(Entry::Disconnected { connection, reason: reason.to_owned() });
    }

    /// Sends what is due until `now`; answers when something is due again.
    pub(super) fn advance(&mut self, now: UnixNanos) -> Option<UnixNanos> {
        self.now = now;
        self.send_later();
        let room = self.room();
        let mut outlet = Outlet { interest: &self.interest, frames: Vec::new() };
        let progress = self.source.advance(now, room, &mut outlet);
        for frame in outlet.frames {
            let targets = self.interest.connections(&frame.stream).to_vec();
            self.deliver(frame, targets);
        }
        self.note(&progress);
        let later = self.later.first_key_value().map(|((due, _), _)| *due);
        [later, self.source.due().map(|due| if room == 0 { now + MILLI } else { due })]
            .into_iter()
            .flatten()
            .min()
    }

    fn note(&self, progress: &Progress) {
        if progress.started {
            self.journal.write(Entry::Started);
        }
        if progress.finished {
            self.journal.write(Entry::Finished);
        }
    }

    /// Frames that every queue takes for certain: half of what is free, because a fault may double them.
    fn room(&mut self) -> usize {
        let fullest = self
            .connections
            .values()
            .map(|connection| (connection.queue.capacity(), connection.client.id))
            .min();
        let Some((free, connection)) = fullest else {
            return usize::MAX;
        };
        if free / 2 > 0 {
            self.stalled_since = None;
        } else if self.now.saturating_sub(*self.stalled_since.get_or_insert(self.now)) > PATIENCE {
            self.kill(connection, "too slow");
        }
        free / 2
    }

    /// Ends a connection with a close frame.
    pub(super) fn close(&mut self, connection: u64, code: u16, reason: &str) {
        self.push(connection, Outgoing::Close { code, reason: reason.to_owned() });
        self.remove(connection, reason);
    }

    pub(super) fn subscribe(
        &mut self,
        connection: u64,
        stream: &str,
        now: UnixNanos,
        carries: impl FnOnce(&Opening) -> bool,
    ) {
        let Some(subscriber) = self.connections.get_mut(&connection) else {
            return;
        };
        let new = subscriber.client.streams.insert(stream.to_owned());
        if !new || !carries(&subscriber.client.opening) {
            return;
        }
        self.interest.add(stream, connection);
        self.now = now;
        let mut outlet = Outlet { interest: &self.interest, frames: Vec::new() };
        self.source.greet(stream, now, &mut outlet);
        for frame in outlet.frames {
            self.deliver(frame, vec![connection]);
        }
    }

    pub(super) fn unsubscribe(&mut self, connection: u64, streams: &[String]) {
        let Some(subscriber) = self.connections.get_mut(&connection) else {
            return;
        };
        for stream in streams {
            subscriber.client.streams.remove(stream);
            self.interest.remove(stream, connection);
        }
    }

    /// Carries out a fault that happens at once.
    pub(super) fn strike(&mut self, id: FaultId, fault: &Fault, notice: impl Fn(&Client) -> Option<String>) {
        if let Effect::Jump(by) = fault.effect {
            self.source.jump(by, &fault.filter);
            return self.note_struck(id, String::new());
        }
        for connection in self.concerned(fault) {
            match &fault.effect {
                Effect::Close(code) => self.close(connection, *code, "closed by a fault"),
                Effect::Freeze => {
                    self.push(connection, Outgoing::Freeze);
                    self.remove(connection, "frozen by a fault");
                }
                Effect::Reset => self.kill(connection, "reset by a fault"),
                _ => {
                    let text = self.client(connection).and_then(|client| notice(client));
                    text.into_iter().for_each(|text| self.reply(connection, text));
                }
            }
            self.note_struck(id, connection.to_string());
        }
    }

    fn note_struck(&self, fault: FaultId, id: String) {
        self.journal.write(Entry::Applied { fault, stream: String::new(), id, text: String::new() });
    }

    fn concerned(&self, fault: &Fault) -> Vec<u64> {
        let all = fault.filter == Filter::Any;
        let matches = |client: &Client| {
            all || client.streams.iter().any(|stream| fault.filter.matches(stream, Class::of(stream)))
        };
        self.connections.values().filter(|c| matches(&c.client)).map(|c| c.client.id).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            streams: self.streams.iter().map(|(name, stats)| (name.to_string(), stats.clone())).collect(),
            connections: self.connections.len(),
            finished: self.source.finished(),
        }
    }
}
