//! The way of a frame through the faults to its connections.

use std::sync::Arc;
use std::time::Duration;

use super::SentFrame;
use super::connection::Outgoing;
use super::state::State;
use crate::clock::{UnixNanos, nanos};
use crate::fault::{Effect, FaultId, Moment};
use crate::frame::Frame;
use crate::journal::{Entry, StreamStats};

/// Characters of a frame that the journal keeps.
const MOST_NOTED: usize = 4_096;
/// Messages held back for later by `delay` and `ack-late`; more are sent at once.
const MOST_DELAYED: usize = 65_536;

/// How a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Split,
    Cut,
}

/// What waits for its time.
#[derive(Debug)]
pub(super) enum Later {
    Frame(Frame, Vec<u64>),
    Reply(u64, String),
}

impl State {
    /// A frame on its way: through the faults, if one takes effect, to the connections.
    pub(super) fn deliver(&mut self, frame: Frame, targets: Vec<u64>) {
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
        let (stream, id, text) =
            (frame.stream.to_string(), frame.id.clone(), frame.text.chars().take(MOST_NOTED).collect());
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

    pub(super) fn send_later(&mut self) {
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
    pub(super) fn push(&mut self, connection: u64, outgoing: Outgoing) {
        let Some(target) = self.connections.get(&connection) else {
            return;
        };
        if target.queue.try_send(outgoing).is_err() {
            self.kill(connection, "too slow");
        }
    }

    pub(super) fn kill(&mut self, connection: u64, reason: &str) {
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
}
