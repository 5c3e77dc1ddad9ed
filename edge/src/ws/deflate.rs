//! Clients' compressed messages (permessage-deflate, RFC 7692).
//!
//! Neither side keeps anything of a message for the next (`…_no_context_takeover`), so a connection that compresses costs no more memory than
//! one that does not. Frames to clients are compressed where they are kept, in [`crate::delivery::deflate`].

use std::cell::RefCell;

use bond_core::code::CloseCode;
use flate2::{Decompress, FlushDecompress, Status};

use super::connection::Carried;
use super::frame_decoder::{MESSAGE_LIMIT, NOT_TEXT, TOO_LARGE, Violation};
use super::worker::Worker;

/// The tail that the sender has left out (RFC 7692, 7.2.2), and an empty last block behind it: only a message that is whole ends there.
const TAIL: [u8; 9] = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];

const MALFORMED: Violation =
    Violation { code: CloseCode::InvalidText, reason: "a compressed message is whole, and DEFLATE" };

thread_local! {
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// The text of a compressed message. One that would be over the limit costs no more than the limit.
pub(crate) fn inflate(mut message: Vec<u8>) -> Result<String, Violation> {
    message.extend_from_slice(&TAIL);
    let mut text = Vec::with_capacity((message.len() * 4).min(MESSAGE_LIMIT + 1));
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        while inflate_more(inflater, &message, &mut text)? != Status::StreamEnd {}
        Ok(())
    })?;
    String::from_utf8(text).map_err(|_| NOT_TEXT)
}

/// Inflates until the room in `text` is used up, and makes more as far as the limit goes.
fn inflate_more(inflater: &mut Decompress, message: &[u8], text: &mut Vec<u8>) -> Result<Status, Violation> {
    let (read, written) = (inflater.total_in(), text.len());
    let rest = usize::try_from(read).ok().and_then(|read| message.get(read..)).unwrap_or_default();
    let status = inflater.decompress_vec(rest, text, FlushDecompress::Sync).map_err(|_| MALFORMED)?;
    if text.len() > MESSAGE_LIMIT {
        return Err(TOO_LARGE);
    }
    if status != Status::StreamEnd && inflater.total_in() == read && text.len() == written {
        return Err(MALFORMED);
    }
    if text.len() == text.capacity() {
        text.reserve_exact(text.len().clamp(LEAST_ROOM, MESSAGE_LIMIT + 1 - text.len()));
    }
    Ok(status)
}

/// The least room that is made for a message that turns out longer.
const LEAST_ROOM: usize = 64;

impl Worker {
    /// Has a connection compress that has agreed on it.
    pub(super) fn begin_deflate(&mut self, id: usize) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.inbox.allow_deflate();
        if let Carried::Feed(feed) = &mut connection.carried {
            feed.has_deflate = true;
        }
    }

    /// Takes a compressed message whose frame was within the budget, or was not. What it comes to counts as bytes too.
    pub(super) fn on_deflated(&mut self, id: usize, message: Vec<u8>, is_admitted_frame: bool) {
        if !is_admitted_frame {
            return self.on_text(id, "", false);
        }
        let text = match inflate(message) {
            Ok(text) => text,
            Err(Violation { code, reason }) => return self.close(id, code, reason),
        };
        let moment = self.moment();
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_admitted = connection.budget.admit_inflated(text.len(), moment);
        self.on_text(id, &text, is_admitted);
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// A message as a client compresses it.
    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut compress = Compress::new(Compression::best(), false);
        let mut out = Vec::with_capacity(text.len() + 1024);
        compress.compress_vec(text, &mut out, FlushCompress::Sync).expect("compress");
        out.truncate(out.len() - 4);
        out
    }

    fn code(message: Vec<u8>) -> Result<String, CloseCode> {
        inflate(message).map_err(|violation| violation.code)
    }

    #[test]
    fn messages_come_back_as_they_were() {
        for text in ["", "{}", &"ü".repeat(MESSAGE_LIMIT / 2), &"{\"type\":\"ping\"}".repeat(100)] {
            assert_eq!(inflate(compressed(text.as_bytes())), Ok(text.to_owned()), "{}", text.len());
        }
        // RFC 7692, 7.2.3.2 and 7.2.3.4: "Hello" in a block without compression, and in a last block.
        let stored = vec![0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00];
        assert_eq!(inflate(stored), Ok("Hello".to_owned()));
        let last = vec![0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00];
        assert_eq!(inflate(last), Ok("Hello".to_owned()));
    }

    #[test]
    fn a_bomb_is_too_large_and_no_more_of_it_is_held_than_the_limit() {
        assert_eq!(code(compressed(&vec![b'x'; MESSAGE_LIMIT + 1])), Err(CloseCode::TooLarge));
        let bomb = compressed(&vec![b'x'; 40 << 20]);
        assert!(bomb.len() < MESSAGE_LIMIT, "{}", bomb.len());
        let (mut inflater, mut text) = (Decompress::new(false), Vec::with_capacity(16));
        let ended = loop {
            match inflate_more(&mut inflater, &bomb, &mut text) {
                Ok(_) => {}
                Err(violation) => break violation,
            }
        };
        assert_eq!((ended, text.capacity()), (TOO_LARGE, MESSAGE_LIMIT + 1));
    }

    #[test]
    fn a_message_that_is_cut_or_no_deflate_is_refused_wherever() {
        let text: String = (0..200).map(|n| format!("{n}:{},", n * 7919 % 1000)).collect();
        let whole = compressed(text.as_bytes());
        for end in 0..whole.len() {
            assert!(inflate(whole[..end].to_vec()).is_err(), "{end} of {}", whole.len());
        }
        assert_eq!(code(vec![0x07; 20]), Err(CloseCode::InvalidText));
        assert_eq!(code(compressed(&[0xFF, 0xFE])), Err(CloseCode::InvalidText));
    }
}
