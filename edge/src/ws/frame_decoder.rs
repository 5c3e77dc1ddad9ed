//! What clients send: frames taken apart, unmasked, put together into messages, and held to the limits.

use std::io::Cursor;
use std::mem;
use std::time::Instant;

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
    /// A text that is compressed still, so that whoever may say no more costs nothing.
    Deflated(Vec<u8>),
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

pub(crate) const TOO_LARGE: Violation =
    Violation { code: CloseCode::TooLarge, reason: "a message is 64 KiB at most" };
const BINARY: Violation = Violation { code: CloseCode::Unsupported, reason: "text messages only" };
const REASON_NOT_TEXT: Violation =
    Violation { code: CloseCode::InvalidText, reason: "the reason of a close is UTF-8" };
pub(crate) const NOT_TEXT: Violation =
    Violation { code: CloseCode::InvalidText, reason: "a text message is UTF-8" };

/// The part of a client's bytes that was not looked at yet, or is no whole message. Costs a pointer while there is none.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    partial: Option<Box<Partial>>,
    /// Whether permessage-deflate was agreed on.
    has_deflate: bool,
}

#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    /// How many of them were looked at.
    used: usize,
    /// The fragments of a message so far; `None` outside of one.
    message: Option<Vec<u8>>,
    /// Whether that message is compressed.
    is_deflated: bool,
    /// When the message that is not whole yet was begun.
    begun: Instant,
}

/// A frame that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReceivedFrame {
    /// How many bytes it was.
    pub(crate) bytes: usize,
    /// What it is; `None` for a fragment of a message.
    pub(crate) inbound: Option<Inbound>,
}

impl FrameDecoder {
    /// Takes compressed messages from here on: permessage-deflate was agreed on.
    pub(crate) fn allow_deflate(&mut self) {
        self.has_deflate = true;
    }

    /// Takes in what was read at `now`.
    pub(crate) fn feed(&mut self, bytes: &[u8], now: Instant) {
        let partial = self.partial.get_or_insert_with(|| Box::new(Partial::new(now)));
        partial.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one. After a violation nothing is left of what came.
    pub(crate) fn next(&mut self, now: Instant) -> Result<Option<ReceivedFrame>, Violation> {
        let Some(mut partial) = self.partial.take() else { return Ok(None) };
        let taken = partial.next(self.has_deflate, now)?;
        if taken.is_none() {
            partial.bytes.drain(..partial.used);
            partial.used = 0;
        }
        if partial.used < partial.bytes.len() || partial.message.is_some() {
            self.partial = Some(partial);
        }
        Ok(taken)
    }

    /// Since when a message has been on its way.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.partial.as_ref().map(|partial| partial.begun)
    }
}

impl Partial {
    fn new(now: Instant) -> Self {
        Self { bytes: Vec::new(), used: 0, message: None, is_deflated: false, begun: now }
    }

    /// Takes a whole frame off the front.
    fn next(&mut self, has_deflate: bool, now: Instant) -> Result<Option<ReceivedFrame>, Violation> {
        let mut cursor = Cursor::new(&self.bytes[self.used..]);
        let header = FrameHeader::parse(&mut cursor).map_err(|_| broken("malformed frame"))?;
        let Some((header, length)) = header else { return Ok(None) };
        let start = self.used + cursor.position() as usize;
        let mask = self.check(&header, length, has_deflate)?;
        let end = start + length as usize;
        let mut bytes = mem::take(&mut self.bytes);
        let Some(payload) = bytes.get_mut(start..end) else {
            self.bytes = bytes;
            return Ok(None);
        };
        unmask(payload, mask);
        let inbound = self.frame(&header, payload)?;
        let taken = ReceivedFrame { bytes: end - self.used, inbound };
        (self.bytes, self.used) = (bytes, end);
        if self.message.is_none() {
            self.begun = now;
        }
        Ok(Some(taken))
    }

    /// Holds a header to the protocol and the limits, before its payload is waited for.
    fn check(&self, header: &FrameHeader, length: u64, has_deflate: bool) -> Result<[u8; 4], Violation> {
        if (header.rsv1 && !has_deflate) || header.rsv2 || header.rsv3 {
            return Err(broken("no extension was agreed on"));
        }
        if header.rsv1 && header.opcode != OpCode::Data(Data::Text) {
            return Err(broken("a message says in its first frame alone that it is compressed"));
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
            OpCode::Control(Control::Close) => check_close(payload).map(|()| Some(Inbound::Close)),
            OpCode::Data(Data::Text) => {
                self.is_deflated = header.rsv1;
                self.data(header.is_final, payload)
            }
            OpCode::Data(Data::Continue) => self.data(header.is_final, payload),
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
        if self.is_deflated {
            return Ok(Some(Inbound::Deflated(message)));
        }
        String::from_utf8(message).map(|text| Some(Inbound::Text(text))).map_err(|_| NOT_TEXT)
    }
}

/// Holds what a close carries to RFC 6455, 7.4: nothing, or a code that may be sent and a reason in UTF-8.
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    let (code, reason) = match payload {
        [] => return Ok(()),
        [_] => return Err(broken("a close carries a whole code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004 to 1006 and 1015 are never sent; 1016 to 2999 are not given out yet.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(broken("a close code that is never sent"));
    }
    str::from_utf8(reason).map(drop).map_err(|_| REASON_NOT_TEXT)
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

    fn take(inbox: &mut FrameDecoder, bytes: &[u8]) -> Result<Vec<Inbound>, Violation> {
        let (mut into, now) = (Vec::new(), Instant::now());
        inbox.feed(bytes, now);
        while let Some(taken) = inbox.next(now)? {
            into.extend(taken.inbound);
        }
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
            let mut inbox = FrameDecoder::default();
            let got: Vec<Inbound> =
                bytes.chunks(size).flat_map(|chunk| take(&mut inbox, chunk).expect("valid")).collect();
            assert_eq!(got, expected, "{size}");
            assert!(inbox.partial.is_none(), "nothing is kept between messages");
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
            (frame(8, true, &[3]), CloseCode::ProtocolError),
            (frame(8, true, &close(1000, &[0xFF])), CloseCode::InvalidText),
        ];
        for (bytes, code) in cases {
            assert_eq!(take(&mut FrameDecoder::default(), &bytes).map_err(|v| v.code), Err(code));
        }
    }

    fn close(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], reason].concat()
    }

    #[test]
    fn close_codes_that_are_never_sent_break_the_protocol_and_the_others_are_taken() {
        let came = |payload: &[u8]| take(&mut FrameDecoder::default(), &frame(8, true, payload));
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            assert_eq!(came(&close(code, b"")).map_err(|v| v.code), Err(CloseCode::ProtocolError), "{code}");
        }
        for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert_eq!(came(&close(code, "für".as_bytes())), Ok(vec![Inbound::Close]), "{code}");
        }
        assert_eq!(came(b""), Ok(vec![Inbound::Close]));
    }

    #[test]
    fn a_message_is_on_its_way_from_its_first_byte_whatever_comes_between() {
        let (mut inbox, began) = (FrameDecoder::default(), Instant::now());
        let later = began + std::time::Duration::from_secs(5);
        inbox.feed(&frame(1, false, b"he"), began);
        assert_eq!(inbox.next(began).expect("valid").expect("a frame").inbound, None);
        inbox.feed(&frame(9, true, b"!"), later);
        assert!(inbox.next(later).expect("valid").is_some());
        assert_eq!(inbox.begun(), Some(began));
        inbox.feed(&frame(0, true, b"llo"), later);
        assert!(inbox.next(later).expect("valid").is_some());
        assert_eq!(inbox.begun(), None);
    }

    #[test]
    fn a_compressed_message_says_so_in_its_first_frame_alone_and_where_that_was_agreed() {
        let agreed = || FrameDecoder { has_deflate: true, ..FrameDecoder::default() };
        let whole = [frame(0x41, true, b"abc")].concat();
        assert_eq!(take(&mut agreed(), &whole), Ok(vec![Inbound::Deflated(b"abc".to_vec())]));
        let cut =
            [frame(0x41, false, b"a"), frame(9, true, b"!"), frame(0, true, b"bc"), frame(1, true, b"x")];
        let expected =
            vec![Inbound::Ping(b"!".to_vec()), Inbound::Deflated(b"abc".to_vec()), Inbound::Text("x".into())];
        assert_eq!(take(&mut agreed(), &cut.concat()), Ok(expected));
        let after = |second: Vec<u8>| [frame(1, false, b"a"), second].concat();
        for broken in [after(frame(0x40, true, b"b")), after(frame(0x49, true, b"")), frame(0x61, true, b"x")]
        {
            let violation = take(&mut agreed(), &broken).map_err(|violation| violation.code);
            assert_eq!(violation, Err(CloseCode::ProtocolError), "{broken:?}");
        }
        assert_eq!(
            take(&mut agreed(), &frame(0x42, true, b"x")).map_err(|v| v.code),
            Err(CloseCode::ProtocolError)
        );
    }

    #[test]
    fn an_endless_message_is_refused_before_it_is_held() {
        let mut inbox = FrameDecoder::default();
        take(&mut inbox, &frame(1, false, &vec![b'x'; MESSAGE_LIMIT])).expect("at the limit");
        let more = take(&mut inbox, &frame(0, false, b"x"));
        assert_eq!(more.map_err(|v| v.code), Err(CloseCode::TooLarge));
    }
}
