//! The decoder of clients' frames, for the fuzz targets.

use super::inbox::{Inbound, Inbox};

/// What comes of a client's bytes that are read in these pieces: its messages, and why it is closed, if it is.
pub fn understood(pieces: &[&[u8]]) -> (Vec<String>, Option<u16>) {
    let (mut inbox, mut messages) = (Inbox::default(), Vec::new());
    let violation = pieces.iter().find_map(|piece| inbox.take(&mut piece.to_vec(), &mut messages).err());
    (messages.iter().map(shown).collect(), violation.map(|violation| violation.code.number()))
}

fn shown(message: &Inbound) -> String {
    format!("{message:?}")
}
