//! The decoder of clients' frames and of their compressed messages, for the fuzz targets.

use std::time::Instant;

use super::deflate::inflate;
use super::frame_decoder::{FrameDecoder, Inbound, Violation};

/// What comes of a client's bytes that are read in these pieces: its messages, and why it is closed, if it is.
pub fn understood(pieces: &[&[u8]]) -> (Vec<String>, Option<u16>) {
    let (mut inbox, mut messages, now) = (FrameDecoder::default(), Vec::new(), Instant::now());
    inbox.allow_deflate();
    for piece in pieces {
        inbox.feed(piece, now);
        loop {
            match inbox.next(now).and_then(|taken| taken.map(|taken| text_of(taken.inbound)).transpose()) {
                Ok(Some(text)) => messages.extend(text),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation.code.number())),
            }
        }
    }
    (messages, None)
}

fn text_of(inbound: Option<Inbound>) -> Result<Option<String>, Violation> {
    let inbound = match inbound {
        Some(Inbound::Deflated(message)) => Some(Inbound::Text(inflate(message)?)),
        other => other,
    };
    Ok(inbound.map(|inbound| format!("{inbound:?}")))
}
