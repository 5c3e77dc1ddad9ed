//! The latest entries of one stream, addressed by place.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bond_redis::external::{Entry, EntryId};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::delivery::frame::{self, Opcode};

/// How much longer than the window entries are kept. A client that joins at the very beginning of the window must still find the next entry
/// a moment later.
const GRACE: Duration = Duration::from_secs(5);

/// The size of an entry without its frame, in bytes.
const ENTRY_BYTES: usize = 64;

/// The state of a ring that can be read without its lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Whether the ring holds what the stream held when it was first asked for.
    pub(super) is_filled: bool,
    /// Whether the stream cannot be read, so that no more entries will come.
    pub(super) is_unreadable: bool,
    /// The place before the oldest entry.
    pub(super) start: u64,
    /// The place after the newest.
    pub(super) end: u64,
}

/// The client's next entries are no longer kept, or were lost before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FellBehind;

/// The entries of one stream, filled by one task. Places count entries since the ring began.
#[derive(Debug)]
pub(super) struct BrokerRing {
    window: Duration,
    most_bytes: usize,
    held: Mutex<Held>,
    extent: watch::Sender<Extent>,
    followers: AtomicUsize,
}

#[derive(Debug, Default)]
struct Held {
    entries: VecDeque<Kept>,
    bytes: usize,
}

/// An entry as clients get it.
#[derive(Debug)]
struct Kept {
    /// When the entry was read. Its id need not be a time.
    came: Instant,
    /// The first half of the entry's id.
    ms: u64,
    frame: Bytes,
}

impl Kept {
    fn new(Entry { id, data }: &Entry, came: Instant) -> Self {
        Self { came, ms: id.ms, frame: framed(data) }
    }

    /// The size that counts towards the bound.
    fn weight(&self) -> usize {
        ENTRY_BYTES + self.frame.len()
    }
}

/// The frame of an entry: a text message, or a binary one if the bytes are not text.
fn framed(data: &[u8]) -> Bytes {
    let is_text = std::str::from_utf8(data).is_ok();
    let mut frame = Vec::with_capacity(frame::MOST_HEADER + data.len());
    frame::header(if is_text { Opcode::Text } else { Opcode::Binary }, data.len(), &mut frame);
    frame.extend_from_slice(data);
    frame.into()
}

/// A handle of a client on the ring it follows. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Followed(Arc<BrokerRing>);

impl Followed {
    pub(super) fn new(ring: &Arc<BrokerRing>) -> Self {
        ring.followers.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(ring))
    }
}

impl Deref for Followed {
    type Target = BrokerRing;

    fn deref(&self) -> &BrokerRing {
        &self.0
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl BrokerRing {
    pub(super) fn new(window: Duration, most_bytes: usize) -> Self {
        Self {
            window,
            most_bytes,
            held: Mutex::default(),
            extent: watch::Sender::default(),
            followers: AtomicUsize::new(0),
        }
    }

    /// Records that the ring holds what the stream held when it was first asked for.
    pub(super) fn set_filled(&self) {
        self.extent.send_modify(|extent| extent.is_filled = true);
    }

    /// Records that the stream cannot be read.
    pub(super) fn give_up(&self) {
        self.extent.send_modify(|extent| extent.is_unreadable = true);
    }

    /// Adds entries that were read at `now`, and drops those that are too old or too many.
    pub(super) fn push(&self, entries: &[Entry], now: Instant) {
        let kept: Vec<Kept> = entries.iter().map(|entry| Kept::new(entry, now)).collect();
        let mut held = self.held.lock();
        let count = kept.len() as u64;
        held.bytes += kept.iter().map(Kept::weight).sum::<usize>();
        held.entries.extend(kept);
        let kept_since = now.checked_sub(self.window + GRACE);
        let dropped = held.trim(kept_since, self.most_bytes);
        self.extent.send_modify(|extent| {
            extent.start += dropped;
            extent.end += count;
        });
    }

    /// Drops the oldest entries until there are at most `bytes` bytes.
    pub(super) fn shrink_to(&self, bytes: usize) {
        let dropped = self.held.lock().trim(None, bytes);
        self.extent.send_modify(|extent| extent.start += dropped);
    }

    /// How many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        self.held.lock().bytes
    }

    /// Records that entries are missing before the next one, so that none of the present clients can go on.
    pub(super) fn break_off(&self) {
        let mut held = self.held.lock();
        *held = Held::default();
        // Skip one place, so that clients who have got every entry are behind too.
        self.extent.send_modify(|extent| {
            extent.end += 1;
            extent.start = extent.end;
        });
    }

    /// The place before the first entry at or after `time`, in Unix milliseconds by the clock of Redis.
    pub(super) fn place_at(&self, time: u64) -> u64 {
        let held = self.held.lock();
        let before = held.entries.partition_point(|entry| entry.ms < time);
        self.extent.borrow().start + before as u64
    }

    /// The frames of at most `bytes` bytes of entries after `place` (but one in any case), and the place after them.
    pub(super) fn after(&self, place: u64, bytes: usize) -> Result<(Vec<Bytes>, u64), FellBehind> {
        let held = self.held.lock();
        let index = place.checked_sub(self.extent.borrow().start).ok_or(FellBehind)?;
        let mut room = bytes;
        let mut taken = Vec::new();
        for Kept { frame, .. } in held.entries.iter().skip(index as usize) {
            if !taken.is_empty() && frame.len() > room {
                break;
            }
            room = room.saturating_sub(frame.len());
            taken.push(frame.clone());
        }
        let end = place + taken.len() as u64;
        Ok((taken, end))
    }

    /// A receiver that is notified of every change.
    pub(super) fn watch(&self) -> watch::Receiver<Extent> {
        self.extent.subscribe()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.followers.load(Ordering::Acquire) == 0
    }

    pub(super) fn is_filled(&self) -> bool {
        self.extent.borrow().is_filled
    }
}

impl Held {
    /// Drops entries that were read before `since`, and the oldest that are too many. Returns how many were dropped.
    fn trim(&mut self, since: Option<Instant>, most_bytes: usize) -> u64 {
        let mut dropped = 0;
        while let Some(entry) = self.entries.front() {
            if self.bytes <= most_bytes && since.is_none_or(|since| entry.came >= since) {
                break;
            }
            self.bytes -= entry.weight();
            self.entries.pop_front();
            dropped += 1;
        }
        dropped
    }
}

/// The id before every entry of `ms` milliseconds.
pub(super) const fn before(ms: u64) -> EntryId {
    EntryId { ms: ms.saturating_sub(1), seq: u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ms: u64, data: &'static str) -> Entry {
        Entry { id: EntryId { ms, seq: 0 }, data: Bytes::from_static(data.as_bytes()) }
    }

    fn ring(now: Instant) -> BrokerRing {
        let ring = BrokerRing::new(Duration::from_secs(10), 1_000);
        ring.push(&[entry(1_000, "a"), entry(2_000, "b"), entry(3_000, "c")], now);
        ring
    }

    #[test]
    fn a_time_finds_the_first_entry_at_or_after_it() {
        let ring = ring(Instant::now());
        for (time, first) in [(0, "a"), (1_000, "a"), (1_001, "b"), (3_000, "c")] {
            let (entries, _) = ring.after(ring.place_at(time), 1).expect("kept");
            assert_eq!(entries, [framed(first.as_bytes())], "{time}");
        }
        assert_eq!(ring.after(ring.place_at(3_001), 99), Ok((Vec::new(), 3)));
    }

    #[test]
    fn whoever_needs_what_was_dropped_is_behind() {
        let now = Instant::now();
        let ring = ring(now);
        let place = ring.place_at(0);
        ring.push(&[entry(17_500, "d")], now + Duration::from_secs(16));
        assert_eq!(
            ring.after(place, 99),
            Err(FellBehind),
            "what came before the window and its grace is dropped"
        );
        assert_eq!(ring.after(place + 3, 99).map(|(entries, _)| entries.len()), Ok(1));
    }

    /// Ids of nanoseconds, or of a counter, say nothing of when an entry came.
    #[test]
    fn what_has_just_come_is_kept_whatever_its_id() {
        let ring = ring(Instant::now());
        let place = ring.place_at(0);
        ring.push(&[entry(1_700_000_000_000_000_000, "d")], Instant::now());
        assert_eq!(ring.after(place, 99).map(|(entries, _)| entries.len()), Ok(4));
    }

    #[test]
    fn what_is_no_text_goes_out_as_bytes() {
        assert_eq!(*framed("ü".as_bytes()), [0x81, 2, 0xC3, 0xBC]);
        assert_eq!(*framed(b"\xC3"), [0x82, 1, 0xC3]);
    }

    #[test]
    fn who_follows_is_counted_until_it_is_gone() {
        let ring = Arc::new(ring(Instant::now()));
        let followed = [Followed::new(&ring), Followed::new(&ring)];
        assert!(!ring.is_idle());
        drop(followed);
        assert!(ring.is_idle());
    }

    #[test]
    fn bytes_are_bounded() {
        let ring = BrokerRing::new(Duration::from_secs(10), 75);
        ring.push(&[entry(1, "aaa"), entry(2, "bbb")], Instant::now());
        assert_eq!(ring.after(ring.place_at(0), 99), Ok((vec![framed(b"bbb")], 2)));
        assert_eq!(ring.bytes(), 69);
        ring.shrink_to(0);
        assert_eq!((ring.bytes(), ring.after(1, 99)), (0, Err(FellBehind)));
    }

    #[test]
    fn after_a_break_everybody_is_behind_and_newcomers_are_not() {
        let ring = ring(Instant::now());
        let place = ring.place_at(9_999);
        ring.break_off();
        assert_eq!(ring.after(place, 99), Err(FellBehind));
        ring.push(&[entry(4_000, "d")], Instant::now());
        assert_eq!(ring.after(ring.place_at(0), 99).map(|(entries, _)| entries.len()), Ok(1));
    }
}
