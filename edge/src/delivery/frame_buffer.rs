//! Frames laid back to back, addressed by their offset since the tape began.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Blocks are merged up to this size, so that a long run is few slices.
const BLOCK_BYTES: usize = 64 * 1024;

/// A window over an endless row of bytes.
///
/// Each push is a block of whole frames; a block never splits one. Neighbours of like size are merged as they come, so that a byte is
/// copied a logarithmic number of times and a run of any length consists of a handful of blocks.
#[derive(Debug, Default)]
pub(crate) struct FrameBuffer {
    blocks: VecDeque<Block>,
    end: u64,
}

#[derive(Debug)]
struct Block {
    start: u64,
    bytes: Bytes,
}

impl FrameBuffer {
    /// The offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Appends whole frames.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        let start = self.end;
        self.end += bytes.len() as u64;
        self.blocks.push_back(Block { start, bytes });
        while self.merge_last() {}
    }

    fn merge_last(&mut self) -> bool {
        let Some(before) = self.blocks.len().checked_sub(2) else { return false };
        let (older, newer) = (&self.blocks[before].bytes, &self.blocks[before + 1].bytes);
        let length = older.len() + newer.len();
        if newer.len() * 2 < older.len() || length > BLOCK_BYTES {
            return false;
        }
        let mut merged = BytesMut::with_capacity(length);
        merged.extend_from_slice(older);
        merged.extend_from_slice(newer);
        self.blocks.truncate(before + 1);
        self.blocks[before].bytes = merged.freeze();
        true
    }

    /// Forgets blocks that end at or before `offset`.
    pub(crate) fn trim(&mut self, offset: u64) {
        while self.blocks.front().is_some_and(|block| block.start + block.bytes.len() as u64 <= offset) {
            self.blocks.pop_front();
        }
    }

    /// Appends the bytes from `from` to `to`, both kept, as slices that share the tape's memory.
    pub(crate) fn slices(&self, from: u64, to: u64, into: &mut Vec<Bytes>) {
        let first = self.blocks.partition_point(|block| block.start <= from).saturating_sub(1);
        for block in self.blocks.range(first..).take_while(|block| block.start < to) {
            let low = from.saturating_sub(block.start) as usize;
            let high = ((to - block.start) as usize).min(block.bytes.len());
            if low < high {
                into.push(block.bytes.slice(low..high));
            }
        }
    }

    /// One frame, which lies in one block.
    pub(crate) fn frame(&self, from: u64, to: u64) -> Bytes {
        let index = self.blocks.partition_point(|block| block.start <= from).saturating_sub(1);
        let Some(block) = self.blocks.get(index) else { return Bytes::new() };
        let (low, high) = ((from - block.start) as usize, (to - block.start) as usize);
        block.bytes.slice(low..high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape(count: u64) -> FrameBuffer {
        let mut tape = FrameBuffer::default();
        for n in 0..count {
            tape.push(Bytes::from(format!("{n:08}")));
        }
        tape
    }

    fn read(tape: &FrameBuffer, from: u64, to: u64) -> (String, usize) {
        let mut slices = Vec::new();
        tape.slices(from, to, &mut slices);
        (String::from_utf8(slices.concat()).expect("text"), slices.len())
    }

    #[test]
    fn a_long_run_is_few_slices_in_order() {
        let tape = tape(4_000);
        let expected: String = (10..4_000).map(|n| format!("{n:08}")).collect();
        let (text, slices) = read(&tape, 80, tape.end());
        assert_eq!(text, expected);
        assert!(slices < 16, "{slices}");
    }

    #[test]
    fn what_is_kept_can_be_read_after_a_trim() {
        let mut tape = tape(20_000);
        tape.trim(80_000);
        assert_eq!(read(&tape, 80_000, 80_016).0, "0001000000010001");
        assert_eq!(tape.frame(80_008, 80_016), "00010001");
        assert!(tape.blocks[0].start > 0);
    }
}
