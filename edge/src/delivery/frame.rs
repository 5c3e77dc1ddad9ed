//! WebSocket frames (RFC 6455) as the edge writes them: unmasked, in one piece.

use bond_core::code::CloseCode;

/// The opcodes that are written; `bond broker` alone writes binary frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

/// The most bytes that a control frame may carry.
const CONTROL_LIMIT: usize = 125;

/// The first reserved bit.
const RSV1: u8 = 0x40;

/// The most bytes of a header.
pub(crate) const MOST_HEADER: usize = 10;

/// Appends the header of a final frame that carries `length` bytes.
pub(crate) fn header(opcode: Opcode, length: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a text frame.
pub(crate) fn text(payload: &[u8], out: &mut Vec<u8>) {
    header(Opcode::Text, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a text frame whose payload is compressed, which its first reserved bit says.
pub(crate) fn deflated_text(payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    text(payload, out);
    out[start] |= RSV1;
}

/// Appends a ping, which carries nothing.
pub(crate) fn ping(out: &mut Vec<u8>) {
    header(Opcode::Ping, 0, out);
}

/// Appends the answer to a ping.
pub(crate) fn pong(payload: &[u8], out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_LIMIT)];
    header(Opcode::Pong, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a close frame. The reason is cut to what a control frame can carry.
pub(crate) fn close(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    let mut end = reason.len().min(CONTROL_LIMIT - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    header(Opcode::Close, 2 + end, out);
    out.extend_from_slice(&code.number().to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

/// What a text frame made by [`text`] carries.
pub(crate) fn payload(frame: &[u8]) -> &[u8] {
    let start = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(start..).unwrap_or_default()
}

/// The text frames that lie back to back in `frames`, each with its header.
pub(crate) fn split(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let (frame, behind) = rest.split_at_checked(length(rest)?)?;
        rest = behind;
        Some(frame)
    })
}

/// How long the frame is that begins here, header included.
fn length(frames: &[u8]) -> Option<usize> {
    match *frames.get(1)? {
        126 => Some(4 + usize::from(u16::from_be_bytes(*frames.get(2..)?.first_chunk()?))),
        127 => usize::try_from(u64::from_be_bytes(*frames.get(2..)?.first_chunk()?)).ok()?.checked_add(10),
        short => Some(2 + usize::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_gets_its_form_and_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let (body, mut frame) = (vec![b'x'; length], Vec::new());
            text(&body, &mut frame);
            assert_eq!(payload(&frame), body, "{length}");
            assert_eq!(frame[0], 0x81);
        }
    }

    #[test]
    fn frames_back_to_back_come_apart_again() {
        let bodies = [0, 1, 125, 126, 65_535, 65_536].map(|length| vec![b'x'; length]);
        let mut frames = Vec::new();
        bodies.iter().for_each(|body| text(body, &mut frames));
        let found: Vec<&[u8]> = split(&frames).map(payload).collect();
        assert_eq!(found, bodies);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut frame = Vec::new();
        close(CloseCode::GoingAway, &"ü".repeat(100), &mut frame);
        assert!(frame[1] <= 125);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
