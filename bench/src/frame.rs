//! WebSocket frames (RFC 6455) as cheaply as a load generator needs them: headers are walked, payloads handed on in
//! the pieces they arrive in.

/// Opcode of a text frame.
pub const TEXT: u8 = 0x1;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xA;

/// What a [`FrameReader`] finds, in order of arrival.
pub trait FrameSink {
    /// A piece of the payload of a frame with this opcode (0 for a continuation).
    fn payload(&mut self, opcode: u8, piece: &[u8]);
    /// The end of a frame; `last` unless fragments of the same message follow.
    fn end(&mut self, opcode: u8, last: bool);
}

/// Position inside a stream of unmasked frames, kept between reads.
#[derive(Default)]
pub struct FrameReader {
    header: [u8; 10],
    have: usize,
    left: u64,
}

impl FrameReader {
    /// Consumes what was read from the socket.
    pub fn feed(&mut self, mut bytes: &[u8], sink: &mut impl FrameSink) {
        while !bytes.is_empty() {
            bytes = match self.left {
                0 => self.take_header(bytes, sink),
                _ => self.take_payload(bytes, sink),
            };
        }
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FrameSink) -> &'a [u8] {
        let (&byte, rest) = bytes.split_first().unwrap_or((&0, &[]));
        self.header[self.have] = byte;
        self.have += 1;
        if let Some(length) = payload_length(&self.header[..self.have]) {
            self.left = length;
            self.finish_if_complete(sink);
        }
        rest
    }

    fn take_payload<'a>(&mut self, bytes: &'a [u8], sink: &mut impl FrameSink) -> &'a [u8] {
        let here = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (piece, rest) = bytes.split_at(here);
        sink.payload(self.opcode(), piece);
        self.left -= here as u64;
        self.finish_if_complete(sink);
        rest
    }

    fn finish_if_complete(&mut self, sink: &mut impl FrameSink) {
        if self.left == 0 {
            sink.end(self.opcode(), self.header[0] & 0x80 != 0);
            self.have = 0;
        }
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0x0F
    }
}

/// Payload length of a complete header, `None` while bytes of it are missing.
fn payload_length(header: &[u8]) -> Option<u64> {
    match *header {
        [_, length] if length & 0x7F < 126 => Some(u64::from(length & 0x7F)),
        [_, short, a, b] if short & 0x7F == 126 => Some(u64::from(u16::from_be_bytes([a, b]))),
        [_, _, a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

/// A client's frame of at most 65,535 bytes. The mask is zero: the rule is that clients mask, not with what.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Texts {
        open: Vec<u8>,
        done: Vec<Vec<u8>>,
    }

    impl FrameSink for Texts {
        fn payload(&mut self, _opcode: u8, piece: &[u8]) {
            self.open.extend_from_slice(piece);
        }
        fn end(&mut self, _opcode: u8, last: bool) {
            if last {
                self.done.push(std::mem::take(&mut self.open));
            }
        }
    }

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(length as u8),
            length @ 126..=65535 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_of_every_length_class_survive_any_split() {
        let payloads = [vec![], vec![b'a'; 125], vec![b'b'; 126], vec![b'c'; 70_000]];
        let wire: Vec<u8> = payloads.iter().flat_map(|payload| server_frame(0x81, payload)).collect();
        for size in [1, 2, 3, 7, 4096, wire.len()] {
            let (mut reader, mut texts) = (FrameReader::default(), Texts::default());
            for piece in wire.chunks(size) {
                reader.feed(piece, &mut texts);
            }
            assert_eq!(texts.done, payloads, "split every {size} bytes");
        }
    }

    #[test]
    fn a_clients_frame_is_masked_and_has_its_length() {
        assert_eq!(client_frame(TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(client_frame(TEXT, &[0; 200])[..4], [0x81, 0x80 | 126, 0, 200]);
    }

    #[test]
    fn fragments_end_one_message() {
        let wire = [server_frame(0x01, b"ab"), server_frame(0x80, b"cd")].concat();
        let (mut reader, mut texts) = (FrameReader::default(), Texts::default());
        reader.feed(&wire, &mut texts);
        assert_eq!(texts.done, [b"abcd".to_vec()]);
    }
}
