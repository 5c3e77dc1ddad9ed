//! What the lock protects, and the way of a frame through the faults to its connections.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::SentFrame;
use crate::clock::{MILLI, UnixNanos, nanos};
use crate::fault::{ActiveFaults, Effect, Fault, FaultId, Moment};
use crate::frame::{Class, Frame, Interest, Outlet};
use crate::journal::{Entry, Journal, Stats, StreamStats};
use crate::source::{Progress, Source};
use crate::venue::{Client, Opening};

/// A replay waits so long for a client that does not read, then disconnects it.
const PATIENCE: u64 = 5_000 * MILLI;
/// Messages held back for later by `delay` and `ack-late`; more are sent at once.
const MOST_DELAYED: usize = 65_536;

/// What a session has to write.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(Utf8Bytes),
    /// One message in several WebSocket frames.
    Split(Utf8Bytes),
    Close {
        code: u16,
        reason: String,
    },
}

/// How a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Split,
    Cut,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    queue: mpsc::Sender<Outgoing>,
    kill: CancellationToken,
    /// Acknowledgements that wait for data of one of these streams.
    withheld_acks: Vec<(Vec<String>, String)>,
}

impl Connection {
    pub(super) fn new(client: Client, queue: mpsc::Sender<Outgoing>, kill: CancellationToken) -> Self {
        Self { client, queue, kill, withheld_acks: Vec::new() }
    }

    fn take_ack(&mut self, stream: &str) -> Option<String> {
        let index =
            self.withheld_acks.iter().position(|(streams, _)| streams.iter().any(|name| name == stream))?;
        Some(self.withheld_acks.remove(index).1)
    }
}

#[derive(Debug)]
enum Later {
    Frame(Frame, Vec<u64>),
    Reply(u64, String),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) source: Source,
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) faults: ActiveFaults,
    pub(super) sent: VecDeque<SentFrame>,
    interest: Interest,
    /// The first of two frames to be swapped.
    swapped: HashMap<Arc<str>, (Frame, Vec<u64>)>,
    later: BTreeMap<(UnixNanos, u64), Later>,
    later_count: u64,
    streams: BTreeMap<Arc<str>, StreamStats>,
    last_connection: u64,
    /// Since when a full queue has held up the replay.
    stalled_since: Option<UnixNanos>,
    journal: Arc<Journal>,
    record: usize,
    now: UnixNanos,
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

    /// A frame on its way: through the faults, if one takes effect, to the connections.
    fn deliver(&mut self, frame: Frame, targets: Vec<u64>) {
        if targets.is_empty() {
            return;
        }
        if let Some((first, first_targets)) = self.swapped.remove(&frame.stream) {
            self.transmit(&frame, &targets, Form::Whole);
            return self.transmit(&first, &first_targets, Form::Whole);
        }
        match self.faults.take(Moment::Frame, &frame.stream, frame.class, self.now) {
            None => self.transmit(&frame, &targets, Form::Whole),
            Some((_, Effect::Silence(_))) => self.stats_of(&frame.stream).withheld += 1,
            Some((fault, effect)) => {
                self.note_frame(fault, &frame);
                self.distort(&effect, frame, targets);
            }
        }
    }

    fn note_frame(&self, fault: FaultId, frame: &Frame) {
        let (stream, id, text) = (frame.stream.to_string(), frame.id.clone(), frame.text.to_string());
        self.journal.write(Entry::Applied { fault, stream, id, text });
    }

    fn distort(&mut self, effect: &Effect, frame: Frame, targets: Vec<u64>) {
        match effect {
            Effect::Repeat => {
                self.transmit(&frame, &targets, Form::Whole);
                self.transmit(&frame, &targets, Form::Whole);
            }
            Effect::Split => self.transmit(&frame, &targets, Form::Split),
            Effect::Malformed => self.transmit(&frame, &targets, Form::Cut),
            Effect::Delay(time) => self.put_off(*time, Later::Frame(frame, targets)),
            Effect::Swap => {
                self.swapped.insert(frame.stream.clone(), (frame, targets));
            }
            _ => self.stats_of(&frame.stream).withheld += 1,
        }
    }

    fn put_off(&mut self, time: Duration, later: Later) {
        let time = if self.later.len() < MOST_DELAYED { nanos(time) } else { 0 };
        self.later_count += 1;
        self.later.insert((self.now.saturating_add(time), self.later_count), later);
    }

    fn send_later(&mut self) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Later::Frame(frame, targets) => self.transmit(&frame, &targets, Form::Whole),
                Later::Reply(connection, text) => self.reply(connection, text),
            }
        }
    }

    fn stats_of(&mut self, stream: &Arc<str>) -> &mut StreamStats {
        self.streams.entry(stream.clone()).or_default()
    }

    fn transmit(&mut self, frame: &Frame, targets: &[u64], form: Form) {
        let stats = self.stats_of(&frame.stream);
        if stats.sent == 0 {
            stats.first_id.clone_from(&frame.id);
        }
        stats.sent += 1;
        stats.last_id.clone_from(&frame.id);
        self.remember(frame);
        for target in targets {
            self.transmit_to(*target, frame, form);
        }
    }

    fn transmit_to(&mut self, target: u64, frame: &Frame, form: Form) {
        let Some(connection) = self.connections.get_mut(&target) else {
            return;
        };
        let combined = frame.combined.as_ref().filter(|_| connection.client.opening.combined);
        let text = combined.unwrap_or(&frame.text).clone();
        let ack = connection.take_ack(&frame.stream);
        self.push(
            target,
            match form {
                Form::Whole => Outgoing::Text(text),
                Form::Split => Outgoing::Split(text),
                Form::Cut => Outgoing::Text(text.chars().take(text.len() / 2).collect::<String>().into()),
            },
        );
        if let Some(ack) = ack {
            self.reply(target, ack);
        }
    }

    fn remember(&mut self, frame: &Frame) {
        if self.record == 0 {
            return;
        }
        if self.sent.len() == self.record {
            self.sent.pop_front();
        }
        self.sent.push_back(SentFrame {
            at: self.now,
            stream: frame.stream.to_string(),
            id: frame.id.clone(),
            text: frame.text.to_string(),
        });
    }

    /// Hands a message to a session; one whose queue is full is too slow and ends.
    fn push(&mut self, connection: u64, outgoing: Outgoing) {
        let Some(target) = self.connections.get(&connection) else {
            return;
        };
        if target.queue.try_send(outgoing).is_err() {
            self.kill(connection, "too slow");
        }
    }

    fn kill(&mut self, connection: u64, reason: &str) {
        if let Some(killed) = self.connections.get(&connection) {
            killed.kill.cancel();
        }
        self.remove(connection, reason);
    }

    pub(super) fn reply(&mut self, connection: u64, text: String) {
        self.push(connection, Outgoing::Text(text.into()));
    }

    pub(super) fn reply_later(&mut self, connection: u64, text: String, now: UnixNanos, time: Duration) {
        self.now = now;
        self.put_off(time, Later::Reply(connection, text));
    }

    pub(super) fn reply_after_data(&mut self, connection: u64, streams: &[String], text: String) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.withheld_acks.push((streams.to_vec(), text));
        }
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
        let all = fault.filter == crate::fault::Filter::Any;
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
