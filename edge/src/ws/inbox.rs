//! What clients send: frames taken apart, unmasked, put together into messages, and held to the limits.

use std::io::Cursor;
use std::mem;

use bond_core::code::CloseCode;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The largest message that is taken, in bytes.
pub(crate) const MESSAGE_LIMIT: usize = 64 * 1024;

/// The most bytes that a control frame may carry.
const CONTROL_LIMIT: u64 = 125;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// Why a client must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: CloseCode,
    pub(crate) reason: &'static str,
}

const fn broken(reason: &'static str) -> Violation {
    Violation { code: CloseCode::ProtocolError, reason }
}

const TOO_LARGE: Violation = Violation { code: CloseCode::TooLarge, reason: "a message is 64 KiB at most" };
const BINARY: Violation = Violation { code: CloseCode::Unsupported, reason: "text messages only" };
const NOT_TEXT: Violation = Violation { code: CloseCode::InvalidText, reason: "a text message is UTF-8" };

/// The part of a client's bytes that is no whole message yet. Costs a pointer while there is none.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Option<Box<Partial>>);

#[derive(Debug, Default)]
struct Partial {
    /// The beginning of a frame.
    bytes: Vec<u8>,
    /// The fragments of a message so far; `None` outside of one.
    message: Option<Vec<u8>>,
}

impl Inbox {
    /// Takes in what was read. Complete messages are appended to `into`, also those before a violation.
    pub(crate) fn take(&mut self, chunk: &mut [u8], into: &mut Vec<Inbound>) -> Result<(), Violation> {
        let mut partial = self.0.take().unwrap_or_default();
        let outcome = if partial.bytes.is_empty() {
            let used = partial.parse(chunk, into)?;
            partial.bytes.extend_from_slice(&chunk[used..]);
            Ok(())
        } else {
            partial.bytes.extend_from_slice(chunk);
            let mut bytes = mem::take(&mut partial.bytes);
            let used = partial.parse(&mut bytes, into)?;
            bytes.drain(..used);
            partial.bytes = bytes;
            Ok(())
        };
        if !partial.bytes.is_empty() || partial.message.is_some() {
            self.0 = Some(partial);
        }
        outcome
    }
}

impl Partial {
    /// Takes whole frames off the front of `bytes` and returns how many bytes they were.
    fn parse(&mut self, bytes: &mut [u8], into: &mut Vec<Inbound>) -> Result<usize, Violation> {
        let mut used = 0;
        loop {
            let mut cursor = Cursor::new(&bytes[used..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|_| broken("malformed frame"))?;
            let Some((header, length)) = header else { return Ok(used) };
            let start = used + cursor.position() as usize;
            let mask = self.check(&header, length)?;
            let end = start + length as usize;
            let Some(payload) = bytes.get_mut(start..end) else { return Ok(used) };
            unmask(payload, mask);
            into.extend(self.frame(&header, payload)?);
            used = end;
        }
    }

    /// Holds a header to the protocol and the limits, before its payload is waited for.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<[u8; 4], Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(broken("no extension was agreed on"));
        }
        match header.opcode {
            OpCode::Control(_) if length > CONTROL_LIMIT || !header.is_final => {
                return Err(broken("a control frame is short and whole"));
            }
            OpCode::Data(Data::Binary) => return Err(BINARY),
            OpCode::Data(Data::Continue) if self.message.is_none() => {
                return Err(broken("a continuation of nothing"));
            }
            OpCode::Data(Data::Text) if self.message.is_some() => {
                return Err(broken("a message inside a message"));
            }
            _ => {}
        }
        let before = self.message.as_ref().map_or(0, Vec::len) as u64;
        if before.saturating_add(length) > MESSAGE_LIMIT as u64 {
            return Err(TOO_LARGE);
        }
        header.mask.ok_or(broken("clients mask their frames"))
    }

    fn frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<Option<Inbound>, Violation> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Inbound::Ping(payload.to_vec()))),
            OpCode::Control(Control::Pong) => Ok(Some(Inbound::Pong)),
            OpCode::Control(Control::Close) => Ok(Some(Inbound::Close)),
            OpCode::Data(Data::Text | Data::Continue) => self.data(header.is_final, payload),
            _ => Err(broken("reserved opcode")),
        }
    }

    fn data(&mut self, is_final: bool, payload: &[u8]) -> Result<Option<Inbound>, Violation> {
        let mut message = self.message.take().unwrap_or_default();
        message.extend_from_slice(payload);
        if !is_final {
            self.message = Some(message);
            return Ok(None);
        }
        String::from_utf8(message).map(|text| Some(Inbound::Text(text))).map_err(|_| NOT_TEXT)
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | short as u8),
            long => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        let mut payload = payload.to_vec();
        unmask(&mut payload, mask);
        bytes.extend(payload);
        bytes
    }

    fn take(inbox: &mut Inbox, mut bytes: Vec<u8>) -> Result<Vec<Inbound>, Violation> {
        let mut into = Vec::new();
        inbox.take(&mut bytes, &mut into)?;
        Ok(into)
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let sent =
            [frame(1, false, b"he"), frame(9, true, b"!"), frame(0, true, b"llo"), frame(1, true, b"x")];
        let expected =
            vec![Inbound::Ping(b"!".to_vec()), Inbound::Text("hello".into()), Inbound::Text("x".into())];
        let bytes = sent.concat();
        for size in 1..bytes.len() {
            let mut inbox = Inbox::default();
            let got: Vec<Inbound> = bytes
                .chunks(size)
                .flat_map(|chunk| take(&mut inbox, chunk.to_vec()).expect("valid"))
                .collect();
            assert_eq!(got, expected, "{size}");
            assert!(inbox.0.is_none(), "nothing is kept between messages");
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused_with_its_code() {
        let unmasked = vec![0x81, 1, b'x'];
        let cases = [
            (frame(2, true, b"x"), CloseCode::Unsupported),
            (frame(1, true, &vec![b'x'; MESSAGE_LIMIT + 1]), CloseCode::TooLarge),
            (frame(1, true, &[0xFF]), CloseCode::InvalidText),
            (frame(0, true, b"x"), CloseCode::ProtocolError),
            (frame(9, false, b"x"), CloseCode::ProtocolError),
            (frame(3, true, b"x"), CloseCode::ProtocolError),
            (frame(0x41, true, b"x"), CloseCode::ProtocolError),
            (unmasked, CloseCode::ProtocolError),
        ];
        for (bytes, code) in cases {
            assert_eq!(take(&mut Inbox::default(), bytes).map_err(|v| v.code), Err(code));
        }
    }

    #[test]
    fn an_endless_message_is_refused_before_it_is_held() {
        let mut inbox = Inbox::default();
        take(&mut inbox, frame(1, false, &vec![b'x'; MESSAGE_LIMIT])).expect("at the limit");
        let more = take(&mut inbox, frame(0, false, b"x"));
        assert_eq!(more.map_err(|v| v.code), Err(CloseCode::TooLarge));
    }
}
