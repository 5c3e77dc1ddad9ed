//! From picked items to bytes: frame after frame, or batches.

use std::borrow::Cow;

use bond_core::topic::Topic;

use super::enveloped::enveloped;
use super::{Batch, Feed, Picked};
use crate::delivery::cursor::Pick;
use crate::delivery::figures::WorkerCounts;
use crate::delivery::frame;

/// The most bytes that one connection gets in one turn; a single frame may be longer.
const TURN_BYTES: usize = 128 * 1024;

/// The most bytes of one batch; a single event may be longer.
const BATCH_BYTES: usize = 32 * 1024;

/// What all feeds of a worker share while they have their turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// What the feed gets next.
    pub(crate) picks: Vec<Picked>,
    pub(super) looked: Vec<Pick>,
    pub(crate) buffer: Vec<u8>,
    /// Where the frames of the first picks end in the buffer.
    pub(crate) ends: Vec<usize>,
    /// What was delivered of topics that were asked for by name.
    pub(crate) counts: WorkerCounts,
}

impl Scratch {
    /// The end of the frame in which a write of `written` bytes ended.
    pub(crate) fn frame_end(&self, written: usize) -> usize {
        let mut ends = self.ends.iter().copied();
        if written == 0 { 0 } else { ends.find(|end| *end >= written).unwrap_or(written) }
    }
}

impl Feed {
    /// Puts the picked items' frames into the buffer, as far as the turn goes.
    pub(crate) fn render(&mut self, bench: &mut Scratch) {
        bench.buffer.clear();
        bench.ends.clear();
        match self.batch {
            Some(batch) => self.render_batch(batch, bench),
            None => self.render_frames(bench),
        }
    }

    fn render_frames(&mut self, bench: &mut Scratch) {
        for (index, pick) in &bench.picks {
            if bench.buffer.len() >= TURN_BYTES {
                break;
            }
            bench.buffer.extend_from_slice(&self.frame_of(*index, pick));
            bench.ends.push(bench.buffer.len());
        }
    }

    fn render_batch(&mut self, batch: Batch, bench: &mut Scratch) {
        let mut json = Vec::with_capacity(4096);
        for (index, pick) in bench.picks.iter().take(batch.size) {
            let of_item = self.frame_of(*index, pick);
            let payload = frame::payload(&of_item);
            if payload.is_empty() {
                bench.ends.push(0);
                continue;
            }
            if !json.is_empty() && json.len() + payload.len() + 2 > BATCH_BYTES {
                break;
            }
            json.push(if json.is_empty() { b'[' } else { b',' });
            json.extend_from_slice(payload);
            bench.ends.push(0);
        }
        if !json.is_empty() {
            json.push(b']');
            frame::text(&json, &mut bench.buffer);
        }
        bench.ends.fill(bench.buffer.len());
    }

    /// The form of an item that this client takes now; nothing where it was passed over.
    pub(crate) fn frame_of<'a>(&mut self, index: usize, pick: &'a Pick) -> Cow<'a, [u8]> {
        let is_named = self.named().is_some();
        let topic = &mut self.topics[index];
        let is_continued = !topic.needs_whole || topic.in_buffer;
        topic.in_buffer |= pick.kind.is_some();
        let of_item = match &pick.changes {
            Some(changes) if self.book_changes && is_continued => changes,
            _ => &pick.frame,
        };
        if !is_named || of_item.is_empty() || matches!(topic.follow.ring.topic, Topic::Published(_)) {
            return Cow::Borrowed(of_item);
        }
        let mut out = Vec::with_capacity(of_item.len() + 128);
        frame::text(&enveloped(pick, of_item).unwrap_or_default(), &mut out);
        Cow::Owned(out)
    }
}
