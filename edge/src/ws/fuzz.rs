//! The decoder of clients' frames, for the fuzz targets.

use std::time::Instant;

use super::frame_decoder::FrameDecoder;

/// What comes of a client's bytes that are read in these pieces: its messages, and why it is closed, if it is.
pub fn understood(pieces: &[&[u8]]) -> (Vec<String>, Option<u16>) {
    let (mut inbox, mut messages, now) = (FrameDecoder::default(), Vec::new(), Instant::now());
    for piece in pieces {
        inbox.feed(piece, now);
        loop {
            match inbox.next(now) {
                Ok(Some(taken)) => messages.extend(taken.inbound.map(|inbound| format!("{inbound:?}"))),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation.code.number())),
            }
        }
    }
    (messages, None)
}
