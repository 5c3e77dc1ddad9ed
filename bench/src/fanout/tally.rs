//! What one connection received: every event counted, and on sampled connections read for its send time and number.

use memchr::{memchr_iter, memmem};

use crate::frame::{self, FrameSink};

/// How a server puts events into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One event to a text frame.
    EventPerFrame,
    /// JSON messages separated by newlines share a frame (centrifuge's JSON protocol).
    Lines,
}

/// Running totals of one connection.
pub struct Tally {
    framing: Framing,
    /// Events received.
    pub events: u64,
    /// Bytes of payloads received, control frames apart.
    pub bytes: u64,
    /// The server closed or refused to go on.
    pub closed: bool,
    /// Payload of a WebSocket ping that is still to be answered.
    pub ping: Option<Vec<u8>>,
    control: Vec<u8>,
    sample: Option<Sample>,
}

impl Tally {
    /// An empty tally; `sampled` reads each event instead of only counting it.
    pub fn new(framing: Framing, sampled: bool) -> Self {
        Self {
            framing,
            events: 0,
            bytes: 0,
            closed: false,
            ping: None,
            control: Vec::new(),
            sample: sampled.then(Sample::default),
        }
    }

    /// Sets the receive time (Unix nanoseconds) of the bytes about to be fed; only sampled connections read the clock.
    pub fn arrive(&mut self, now: impl FnOnce() -> u64) {
        if let Some(sample) = &mut self.sample {
            sample.received = now();
        }
    }

    /// Forgets counts and samples, for the next measurement.
    pub fn reset(&mut self) {
        (self.events, self.bytes) = (0, 0);
        if let Some(sample) = &mut self.sample {
            *sample = Sample::default();
        }
    }

    /// The sampled events since the last reset.
    pub fn sample(&self) -> Option<&Sample> {
        self.sample.as_ref()
    }

    fn end_text(&mut self, last: bool) {
        self.events += u64::from(last);
        if let Some(sample) = self.sample.as_mut().filter(|_| last) {
            sample.read_message(self.framing);
        }
    }

    fn end_control(&mut self, opcode: u8) {
        let payload = std::mem::take(&mut self.control);
        match opcode {
            frame::PING => self.ping = Some(payload),
            frame::CLOSE => self.closed = true,
            _ => {}
        }
    }
}

impl FrameSink for Tally {
    fn payload(&mut self, opcode: u8, piece: &[u8]) {
        if opcode >= frame::CLOSE {
            return self.control.extend_from_slice(piece);
        }
        self.bytes += piece.len() as u64;
        if self.framing == Framing::Lines {
            self.events += memchr_iter(b'\n', piece).count() as u64;
        }
        if let Some(sample) = &mut self.sample {
            sample.text.extend_from_slice(piece);
        }
    }

    fn end(&mut self, opcode: u8, last: bool) {
        match opcode >= frame::CLOSE {
            true => self.end_control(opcode),
            false => self.end_text(last),
        }
    }
}

/// Events of a sampled connection, read one by one.
#[derive(Default)]
pub struct Sample {
    text: Vec<u8>,
    received: u64,
    /// From when each event was due to its arrival, in nanoseconds.
    pub latencies: Vec<u64>,
    /// Events that were not the successor of the one before.
    pub out_of_order: u64,
    last: Option<u64>,
}

impl Sample {
    fn read_message(&mut self, framing: Framing) {
        let text = std::mem::take(&mut self.text);
        match framing {
            Framing::EventPerFrame => self.read_event(&text),
            Framing::Lines => text.split(|&byte| byte == b'\n').for_each(|line| self.read_event(line)),
        }
        self.text = text;
        self.text.clear();
    }

    fn read_event(&mut self, event: &[u8]) {
        let (Some(due), Some(number)) = (integer_after(event, b"\"t\":"), integer_after(event, b"\"n\":"))
        else {
            return;
        };
        self.latencies.push(self.received.saturating_sub(due));
        self.out_of_order += u64::from(self.last.is_some_and(|last| number != last + 1));
        self.last = Some(number);
    }
}

fn integer_after(text: &[u8], key: &[u8]) -> Option<u64> {
    let digits = &text[memmem::find(text, key)? + key.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(framing: Framing, messages: &[&str]) -> Tally {
        let mut tally = Tally::new(framing, true);
        tally.arrive(|| 1_000);
        for message in messages {
            tally.payload(frame::TEXT, message.as_bytes());
            tally.end(frame::TEXT, true);
        }
        tally
    }

    #[test]
    fn lines_are_events() {
        let tally = received(Framing::Lines, &["{\"t\":400,\"n\":0}\n{\"t\":900,\"n\":1}"]);
        assert_eq!(tally.events, 2);
        assert_eq!(tally.sample().map(|s| s.latencies.clone()), Some(vec![600, 100]));
    }

    #[test]
    fn a_hole_in_the_numbers_is_seen() {
        let tally = received(Framing::EventPerFrame, &["{\"t\":1,\"n\":4}", "{\"t\":1,\"n\":6}"]);
        assert_eq!(tally.sample().map(|s| s.out_of_order), Some(1));
    }

    #[test]
    fn pings_and_closes_are_no_events() {
        let mut tally = Tally::new(Framing::EventPerFrame, false);
        tally.payload(frame::PING, b"x");
        tally.end(frame::PING, true);
        tally.end(frame::CLOSE, true);
        assert_eq!((tally.events, tally.ping, tally.closed), (0, Some(b"x".to_vec()), true));
    }
}
