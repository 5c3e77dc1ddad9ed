//! The latest entries of one stream, and clients' places among them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bond_redis::foreign::{Entry, EntryId};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// How much longer than the window entries are kept: whoever joins at the window's very beginning must not find it gone a moment later.
const GRACE: Duration = Duration::from_secs(5);

/// What an entry takes besides its data, in bytes.
const ENTRY_BYTES: usize = 64;

/// What can be said of a ring without its lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Whether it holds what the stream held when it was first asked for.
    pub(super) is_filled: bool,
    /// Whether the stream cannot be read: nothing more will come.
    pub(super) is_unreadable: bool,
    /// The place before the oldest entry.
    pub(super) start: u64,
    /// The place after the newest.
    pub(super) end: u64,
}

/// A client's next entries are not kept, or were lost before they came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind;

/// The entries of one stream, filled by one task. Places count entries since the ring began.
#[derive(Debug)]
pub(super) struct Ring {
    window: Duration,
    most_bytes: usize,
    held: Mutex<Held>,
    extent: watch::Sender<Extent>,
    followers: AtomicUsize,
}

#[derive(Debug, Default)]
struct Held {
    /// With the time at which each came here. Ids need not be times.
    entries: VecDeque<(Instant, Entry)>,
    bytes: usize,
}

impl Ring {
    pub(super) fn new(window: Duration, most_bytes: usize) -> Self {
        Self {
            window,
            most_bytes,
            held: Mutex::default(),
            extent: watch::Sender::default(),
            followers: AtomicUsize::new(0),
        }
    }

    /// It holds what the stream held when it was first asked for.
    pub(super) fn set_filled(&self) {
        self.extent.send_modify(|extent| extent.is_filled = true);
    }

    /// The stream cannot be read.
    pub(super) fn give_up(&self) {
        self.extent.send_modify(|extent| extent.is_unreadable = true);
    }

    /// Takes new entries, which came at `now`, and drops those that are too old or too many.
    pub(super) fn push(&self, entries: Vec<Entry>, now: Instant) {
        let mut held = self.held.lock();
        let count = entries.len() as u64;
        held.bytes += entries.iter().map(weight).sum::<usize>();
        held.entries.extend(entries.into_iter().map(|entry| (now, entry)));
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

    /// Entries are missing before what comes next: no client here can be served without a hole.
    pub(super) fn break_off(&self) {
        let mut held = self.held.lock();
        *held = Held::default();
        // A place more than there were entries, so that those who have all of them are behind too.
        self.extent.send_modify(|extent| {
            extent.end += 1;
            extent.start = extent.end;
        });
    }

    /// The place before the first entry at or after `time`, in Unix milliseconds by the clock of Redis.
    pub(super) fn place_at(&self, time: u64) -> u64 {
        let held = self.held.lock();
        let before = held.entries.partition_point(|(_, entry)| entry.id.ms < time);
        self.extent.borrow().start + before as u64
    }

    /// At most `bytes` bytes of entries after `place` (but one in any case), and the place after them.
    pub(super) fn after(&self, place: u64, bytes: usize) -> Result<(Vec<Bytes>, u64), Behind> {
        let held = self.held.lock();
        let index = place.checked_sub(self.extent.borrow().start).ok_or(Behind)?;
        let mut room = bytes;
        let mut taken = Vec::new();
        for (_, entry) in held.entries.iter().skip(index as usize) {
            if !taken.is_empty() && entry.data.len() > room {
                break;
            }
            room = room.saturating_sub(entry.data.len());
            taken.push(entry.data.clone());
        }
        let end = place + taken.len() as u64;
        Ok((taken, end))
    }

    /// Tells of every change.
    pub(super) fn watch(&self) -> watch::Receiver<Extent> {
        self.extent.subscribe()
    }

    pub(super) fn add_follower(&self) {
        self.followers.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove_follower(&self) {
        self.followers.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.followers.load(Ordering::Acquire) == 0
    }

    pub(super) fn is_filled(&self) -> bool {
        self.extent.borrow().is_filled
    }
}

impl Held {
    /// Drops the oldest: those that came before `since`, and those that are too many. Returns how many.
    fn trim(&mut self, since: Option<Instant>, most_bytes: usize) -> u64 {
        let mut dropped = 0;
        while let Some((came, entry)) = self.entries.front() {
            if self.bytes <= most_bytes && since.is_none_or(|since| *came >= since) {
                break;
            }
            self.bytes -= weight(entry);
            self.entries.pop_front();
            dropped += 1;
        }
        dropped
    }
}

/// What an entry counts for.
fn weight(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.data.len()
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

    fn ring(now: Instant) -> Ring {
        let ring = Ring::new(Duration::from_secs(10), 1_000);
        ring.push(vec![entry(1_000, "a"), entry(2_000, "b"), entry(3_000, "c")], now);
        ring
    }

    #[test]
    fn a_time_finds_the_first_entry_at_or_after_it() {
        let ring = ring(Instant::now());
        for (time, first) in [(0, "a"), (1_000, "a"), (1_001, "b"), (3_000, "c")] {
            let (entries, _) = ring.after(ring.place_at(time), 1).expect("kept");
            assert_eq!(entries, [first], "{time}");
        }
        assert_eq!(ring.after(ring.place_at(3_001), 9), Ok((Vec::new(), 3)));
    }

    #[test]
    fn whoever_needs_what_was_dropped_is_behind() {
        let now = Instant::now();
        let ring = ring(now);
        let place = ring.place_at(0);
        ring.push(vec![entry(17_500, "d")], now + Duration::from_secs(16));
        assert_eq!(ring.after(place, 9), Err(Behind), "what came before the window and its grace is dropped");
        assert_eq!(ring.after(place + 3, 9).map(|(entries, _)| entries.len()), Ok(1));
    }

    /// Ids of nanoseconds, or of a counter, say nothing of when an entry came.
    #[test]
    fn what_has_just_come_is_kept_whatever_its_id() {
        let ring = ring(Instant::now());
        let place = ring.place_at(0);
        ring.push(vec![entry(1_700_000_000_000_000_000, "d")], Instant::now());
        assert_eq!(ring.after(place, 9).map(|(entries, _)| entries.len()), Ok(4));
    }

    #[test]
    fn bytes_are_bounded() {
        let ring = Ring::new(Duration::from_secs(10), 70);
        ring.push(vec![entry(1, "aaa"), entry(2, "bbb")], Instant::now());
        assert_eq!(ring.after(ring.place_at(0), 99), Ok((vec![Bytes::from_static(b"bbb")], 2)));
        assert_eq!(ring.bytes(), 67);
        ring.shrink_to(0);
        assert_eq!((ring.bytes(), ring.after(1, 99)), (0, Err(Behind)));
    }

    #[test]
    fn after_a_break_everybody_is_behind_and_newcomers_are_not() {
        let ring = ring(Instant::now());
        let place = ring.place_at(9_999);
        ring.break_off();
        assert_eq!(ring.after(place, 9), Err(Behind));
        ring.push(vec![entry(4_000, "d")], Instant::now());
        assert_eq!(ring.after(ring.place_at(0), 9).map(|(entries, _)| entries.len()), Ok(1));
    }
}
