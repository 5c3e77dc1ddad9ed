//! The latest entries of one stream, and clients' places among them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bond_redis::foreign::{Entry, EntryId};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How much longer than the window entries are kept: whoever joins at the window's very beginning must not find it gone a moment later.
const GRACE: Duration = Duration::from_secs(5);

/// What can be said of a ring without its lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Whether it holds what the stream held when it was first asked for.
    pub(super) is_filled: bool,
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
    entries: VecDeque<Entry>,
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

    /// Takes what the stream held when it was first asked for.
    pub(super) fn fill(&self, entries: Vec<Entry>) {
        self.push(entries);
        self.extent.send_modify(|extent| extent.is_filled = true);
    }

    /// Takes new entries, and drops those that are too old or too many.
    pub(super) fn push(&self, entries: Vec<Entry>) {
        let mut held = self.held.lock();
        let count = entries.len() as u64;
        held.bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        held.entries.extend(entries);
        let dropped = held.trim(self.window + GRACE, self.most_bytes);
        self.extent.send_modify(|extent| {
            extent.start += dropped;
            extent.end += count;
        });
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
        let before = held.entries.partition_point(|entry| entry.id.ms < time);
        self.extent.borrow().start + before as u64
    }

    /// At most `bytes` bytes of entries after `place` (but one in any case), and the place after them.
    pub(super) fn after(&self, place: u64, bytes: usize) -> Result<(Vec<Bytes>, u64), Behind> {
        let held = self.held.lock();
        let index = place.checked_sub(self.extent.borrow().start).ok_or(Behind)?;
        let mut room = bytes;
        let mut taken = Vec::new();
        for entry in held.entries.iter().skip(index as usize) {
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
    /// Drops the oldest, and returns how many.
    fn trim(&mut self, window: Duration, most_bytes: usize) -> u64 {
        let newest = self.entries.back().map_or(0, |entry| entry.id.ms);
        let oldest = newest.saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        let mut dropped = 0;
        while let Some(entry) = self.entries.front().filter(|e| e.id.ms < oldest || self.bytes > most_bytes) {
            self.bytes -= entry.data.len();
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

    fn ring() -> Ring {
        let ring = Ring::new(Duration::from_secs(10), 1_000);
        ring.fill(vec![entry(1_000, "a"), entry(2_000, "b"), entry(3_000, "c")]);
        ring
    }

    #[test]
    fn a_time_finds_the_first_entry_at_or_after_it() {
        let ring = ring();
        for (time, first) in [(0, "a"), (1_000, "a"), (1_001, "b"), (3_000, "c")] {
            let (entries, _) = ring.after(ring.place_at(time), 1).expect("kept");
            assert_eq!(entries, [first], "{time}");
        }
        assert_eq!(ring.after(ring.place_at(3_001), 9), Ok((Vec::new(), 3)));
    }

    #[test]
    fn whoever_needs_what_was_dropped_is_behind() {
        let ring = ring();
        let place = ring.place_at(0);
        ring.push(vec![entry(17_500, "d")]);
        assert_eq!(ring.after(place, 9), Err(Behind), "a and b are older than the window and its grace");
        assert_eq!(ring.after(place + 2, 9).map(|(entries, _)| entries.len()), Ok(2));
    }

    #[test]
    fn bytes_are_bounded() {
        let ring = Ring::new(Duration::from_secs(10), 4);
        ring.fill(vec![entry(1, "aaa"), entry(2, "bbb")]);
        assert_eq!(ring.after(ring.place_at(0), 99), Ok((vec![Bytes::from_static(b"bbb")], 2)));
    }

    #[test]
    fn after_a_break_everybody_is_behind_and_newcomers_are_not() {
        let ring = ring();
        let place = ring.place_at(9_999);
        ring.break_off();
        assert_eq!(ring.after(place, 9), Err(Behind));
        ring.push(vec![entry(4_000, "d")]);
        assert_eq!(ring.after(ring.place_at(0), 9).map(|(entries, _)| entries.len()), Ok(1));
    }
}
