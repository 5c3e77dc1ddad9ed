//! Compressed frames (permessage-deflate, RFC 7692).
//!
//! Every message is compressed for itself (`server_no_context_takeover`), so its frame is the same for all clients: it is made once, on first
//! need, and kept beside the item. No state is kept for a connection; a thread that compresses has one compressor.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use metrics::{Counter, counter};

use super::frame;

/// Messages of fewer bytes are sent as they are.
pub(crate) const LEAST: usize = 256;

/// How hard is tried. `zlib-rs` does at 2 what zlib does at 1; its own 1 is twice as quick, and leaves messages half as long again.
const LEVEL: u32 = 2;

/// What ends a flushed message, and is left out of the frame (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// The most bytes that a compressor keeps for its output between two messages.
const KEPT_OUTPUT: usize = 256 * 1024;

thread_local! {
    static DEFLATER: RefCell<Deflater> = RefCell::default();
}

/// The text frame that carries `payload` compressed; `None` where it would be no shorter, or is not worth it.
pub(crate) fn deflated(payload: &[u8]) -> Option<Bytes> {
    (payload.len() >= LEAST).then(|| DEFLATER.with_borrow_mut(|deflater| deflater.frame(payload)))?
}

/// The compressor of one thread.
struct Deflater {
    compress: Compress,
    output: Vec<u8>,
    frames: Counter,
    nanoseconds: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
}

impl Default for Deflater {
    fn default() -> Self {
        Self {
            compress: Compress::new(Compression::new(LEVEL), false),
            output: Vec::new(),
            frames: counter!("bond_deflated_frames_total"),
            nanoseconds: counter!("bond_deflate_nanoseconds_total"),
            bytes_in: counter!("bond_deflate_in_bytes_total"),
            bytes_out: counter!("bond_deflate_out_bytes_total"),
        }
    }
}

impl Deflater {
    fn frame(&mut self, payload: &[u8]) -> Option<Bytes> {
        let began = Instant::now();
        let length = self.compress(payload);
        let frame = length.map(|length| {
            let mut frame = Vec::with_capacity(length + frame::MOST_HEADER);
            frame::deflated_text(&self.output[..length], &mut frame);
            Bytes::from(frame)
        });
        self.output.truncate(0);
        self.output.shrink_to(KEPT_OUTPUT);
        self.frames.increment(1);
        self.nanoseconds.increment(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.bytes_in.increment(payload.len() as u64);
        self.bytes_out.increment(length.unwrap_or(payload.len()) as u64);
        frame
    }

    /// Compresses into the output. Returns the length without the tail, where that is less than the payload's.
    fn compress(&mut self, payload: &[u8]) -> Option<usize> {
        self.compress.reset();
        self.output.resize(payload.len() + TAIL.len(), 0);
        self.compress.compress(payload, &mut self.output, FlushCompress::Sync).ok()?;
        let written = usize::try_from(self.compress.total_out()).ok()?;
        // A full output is no whole message.
        let is_whole = written < self.output.len() && self.output[..written].ends_with(&TAIL);
        is_whole.then(|| written - TAIL.len())
    }
}

/// In which form clients take an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it lies in the ring.
    Whole,
    /// The changed levels only.
    Changes,
    /// In the envelope that clients get who name their topics.
    Enveloped,
}

/// The compressed frames of one item, one for each [`Form`], as far as somebody has needed them.
#[derive(Debug, Default)]
pub(crate) struct DeflatedForms {
    /// `None` inside where the frame is sent as it is.
    frames: [OnceLock<Option<Bytes>>; 3],
    /// How many bytes of them the ring has counted. Changes under the ring's lock alone.
    counted: AtomicU64,
}

impl DeflatedForms {
    /// The compressed frame in the place of what `plain` gives, and how many bytes this call has added.
    pub(crate) fn get<'a>(
        &self,
        form: Form,
        plain: impl FnOnce() -> Cow<'a, [u8]>,
    ) -> (Option<Bytes>, usize) {
        let mut added = 0;
        let frame = self.frames[form as usize].get_or_init(|| {
            let made = deflated(frame::payload(&plain()));
            added = made.as_ref().map_or(0, Bytes::len);
            made
        });
        (frame.clone(), added)
    }

    /// Takes note that the ring counts so many bytes more.
    pub(crate) fn count(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes of it the ring has counted.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }
}

/// A frame that many clients get, plain or compressed.
#[derive(Clone, Debug)]
pub(crate) struct SharedFrame {
    pub(crate) plain: Bytes,
    pub(crate) deflated: Arc<DeflatedForms>,
}

impl SharedFrame {
    pub(crate) fn new(plain: Bytes) -> Self {
        Self { plain, deflated: Arc::default() }
    }

    /// The frame as a client takes it.
    pub(crate) fn get(&self, is_compressed: bool) -> Bytes {
        let plain = || Cow::Borrowed(&self.plain[..]);
        let deflated = is_compressed.then(|| self.deflated.get(Form::Whole, plain).0);
        deflated.flatten().unwrap_or_else(|| self.plain.clone())
    }
}

impl PartialEq for SharedFrame {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain
    }
}

impl Eq for SharedFrame {}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    #[test]
    fn a_compressed_frame_says_so_and_carries_the_payload_without_the_tail() {
        for length in [LEAST, 5_000, 300_000] {
            let payload: Vec<u8> = (0..length).map(|n| b"{\"price\":61837.63}"[n % 18]).collect();
            let frame = deflated(&payload).expect("shorter");
            assert_eq!(frame[0], 0xC1, "text, whole, compressed");
            let whole = [frame::payload(&frame), &TAIL].concat();
            let mut text = Vec::with_capacity(length + 1);
            let mut inflater = Decompress::new(false);
            inflater.decompress_vec(&whole, &mut text, FlushDecompress::Sync).expect("inflate");
            assert!(text == payload && whole.len() < length, "{length}");
        }
    }

    #[test]
    fn what_is_short_or_would_be_no_shorter_is_left_as_it_is() {
        assert_eq!(deflated(&[b'x'; LEAST - 1]), None);
        let mut random = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        })
        .take(1_000)
        .collect();
        assert_eq!(deflated(&noise), None);
    }

    #[test]
    fn a_form_is_made_once_and_each_form_for_itself() {
        let forms = DeflatedForms::default();
        let plain = |byte: u8| {
            let mut frame = Vec::new();
            frame::text(&[byte; 1_000], &mut frame);
            frame
        };
        let (first, added) = forms.get(Form::Whole, || Cow::Owned(plain(b'a')));
        assert_eq!(first.as_ref().map(Bytes::len), Some(added));
        let (again, added) = forms.get(Form::Whole, || unreachable!("it is there"));
        assert_eq!((again, added), (first.clone(), 0));
        assert_ne!(forms.get(Form::Changes, || Cow::Owned(plain(b'b'))).0, first);
    }
}
