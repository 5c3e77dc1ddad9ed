//! An invocation that is being built: the table of its messages, and which connection gets which of them.

use std::collections::HashMap;
use std::time::Duration;

use bond_core::deliver::{FRAME_BYTES, INVOCATION_BYTES, Invocation, Parcel};
use bond_core::time::UnixNanos;
use serde_json::value::RawValue;

use super::truncate;

/// The most bytes of events for one connection in an invocation. A connection that catches up so leaves room for the others.
const SHARE_BYTES: usize = 192 * 1024;

/// The most events for one connection that takes each as a frame of its own.
const SHARE_FRAMES: usize = 64;

/// The most events for one connection that takes batches.
const SHARE_MESSAGES: usize = 1_000;

/// The most connections in an invocation. At the usual quota of posts they are served within two seconds.
const PARCELS: usize = 2_000;

/// Room for a connection's notices, which do not count towards its share.
const ROOM: usize = 64 * 1024;

/// The bytes of an invocation without messages and parcels.
const ENVELOPE_BYTES: usize = 192;

/// The bytes of a parcel without its connection's id and runs.
const PARCEL_BYTES: usize = 64;

/// The most bytes of one run, with its comma.
const RUN_BYTES: usize = 24;

/// Identifies an event among all rings: the ring's id, the offset at which its frame ends there, and in which form it is sent.
pub(super) type Source = (u64, u64, Form);

/// The forms in which an event can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As it is in the ring.
    Whole,
    /// A book's changed levels only.
    Changes,
    /// In the envelope of topics.
    Enveloped,
    /// The topic's state after it, in the place of several events.
    State,
}

impl Form {
    pub(super) const ALL: [Self; 4] = [Self::Whole, Self::Changes, Self::Enveloped, Self::State];
}

/// The invocation so far. Its encoded size stays below [`INVOCATION_BYTES`]. An event that several connections get is stored once.
#[derive(Debug)]
pub(super) struct Draft {
    messages: Vec<Box<RawValue>>,
    /// The index in `messages` of each event added so far; `None` for an event that cannot be sent to anyone.
    known: HashMap<Source, Option<u32>>,
    parcels: Vec<Parcel>,
    bytes: usize,
    /// The most events for each connection.
    items: usize,
    share: Share,
}

/// What the current connection gets.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    messages: usize,
    runs: Vec<(u32, u32)>,
}

/// Why an event was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The connection's share is used up.
    Full,
    /// The event cannot be sent to anyone: it is known to be poisoned, is not JSON, or is too large and cannot be shortened.
    Poison,
}

impl Draft {
    /// An empty draft that takes at most `items` events for each connection, and none of `poisoned`.
    pub(super) fn new(items: usize, poisoned: impl Iterator<Item = Source>) -> Self {
        Self {
            messages: Vec::new(),
            known: poisoned.map(|source| (source, None)).collect(),
            parcels: Vec::new(),
            bytes: ENVELOPE_BYTES,
            items,
            share: Share::default(),
        }
    }

    /// Whether there is room for one more connection.
    pub(super) fn has_room(&self) -> bool {
        self.parcels.len() < PARCELS && self.bytes + SHARE_BYTES + FRAME_BYTES + ROOM < INVOCATION_BYTES
    }

    /// Adds a message that only the current connection gets.
    pub(super) fn notice(&mut self, text: &[u8]) {
        if let Some(message) = raw(text) {
            let index = self.push(message);
            self.add(index, text.len());
        }
    }

    /// Adds an event, which other connections may get too. `is_batched`: the current connection takes several in one frame.
    pub(super) fn event(&mut self, source: Source, text: &[u8], is_batched: bool) -> Result<(), Refused> {
        let most = if is_batched { SHARE_MESSAGES } else { SHARE_FRAMES };
        if self.share.bytes >= SHARE_BYTES || self.share.messages >= most.min(self.items) {
            return Err(Refused::Full);
        }
        let index = match self.known.get(&source) {
            Some(index) => *index,
            None => self.enter(source, text),
        };
        self.add(index.ok_or(Refused::Poison)?, text.len());
        Ok(())
    }

    /// Whether an event cannot be sent to anyone.
    pub(super) fn is_poison(&mut self, source: Source, text: &[u8]) -> bool {
        if let Some(index) = self.known.get(&source) {
            return index.is_none();
        }
        let is_poison = if text.len() > FRAME_BYTES {
            truncate::to_fit(text, FRAME_BYTES).is_none()
        } else {
            serde_json::from_slice::<&RawValue>(text).is_err()
        };
        if is_poison {
            self.known.insert(source, None);
        }
        is_poison
    }

    fn enter(&mut self, source: Source, text: &[u8]) -> Option<u32> {
        let message = if text.len() > FRAME_BYTES { truncate::to_fit(text, FRAME_BYTES) } else { raw(text) };
        let index = message.map(|message| self.push(message));
        self.known.insert(source, index);
        index
    }

    fn push(&mut self, message: Box<RawValue>) -> u32 {
        self.bytes += message.get().len() + 1;
        self.messages.push(message);
        // No overflow: `INVOCATION_BYTES` bounds the number of messages far below `u32::MAX`.
        (self.messages.len() - 1) as u32
    }

    fn add(&mut self, index: u32, bytes: usize) {
        let share = &mut self.share;
        share.bytes += bytes;
        share.messages += 1;
        match share.runs.last_mut() {
            Some((first, count)) if *first + *count == index => *count += 1,
            _ => share.runs.push((index, 1)),
        }
    }

    /// Completes the parcel of the current connection. What is added next belongs to another.
    pub(super) fn seal(&mut self, connection: &str, batch: usize, close: bool) {
        let runs = std::mem::take(&mut self.share).runs;
        self.bytes += PARCEL_BYTES + 2 * connection.len() + RUN_BYTES * runs.len();
        self.parcels.push(Parcel { connection: connection.to_owned(), batch, runs, close });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// The complete invocation, which may post for `budget` and not later than `now` plus `budget`.
    pub(super) fn finish(self, lane: u16, number: u64, budget: Duration, now: UnixNanos) -> Invocation {
        let budget_ms = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = Some(now.plus(budget).as_millis());
        Invocation { lane, number, budget_ms, deadline_ms, messages: self.messages, parcels: self.parcels }
    }
}

fn raw(text: &[u8]) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(text.to_vec()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a draft with connections that all want everything from where they stand.
    fn filled(padding: usize, stands: impl Fn(u64) -> u64) -> Invocation {
        let text = format!(r#"{{"pad":"{}"}}"#, "x".repeat(padding)).into_bytes();
        let mut draft = Draft::new(usize::MAX, [].into_iter());
        for connection in 0.. {
            if !draft.has_room() {
                break;
            }
            let mut next = stands(connection);
            while draft.event((1, next, Form::Whole), &text, true).is_ok() {
                next += 1;
            }
            draft.seal(&format!("connection-{connection:08}="), 100, false);
        }
        draft.finish(0, 1, Duration::from_secs(5), UnixNanos::from_secs(1_700_000_000))
    }

    #[test]
    fn an_invocation_stays_within_what_lambda_takes() {
        for (padding, spread) in [(0, 1), (100, 997), (30_000, 7), (100, 2)] {
            let invocation = filled(padding, |connection| connection * spread);
            let bytes = serde_json::to_vec(&invocation).expect("encoded").len();
            assert!(bytes <= INVOCATION_BYTES, "{padding} {spread}: {bytes}");
            assert!(invocation.parcels.len() > 20, "{padding}: {}", invocation.parcels.len());
        }
    }

    #[test]
    fn who_gets_the_same_shares_the_messages() {
        let invocation = filled(100, |_| 1);
        assert_eq!(invocation.parcels.len(), PARCELS);
        assert!(invocation.messages.len() <= SHARE_MESSAGES);
        assert!(invocation.parcels.iter().all(|parcel| parcel.runs.len() == 1));
    }

    #[test]
    fn what_is_no_json_is_refused_each_time() {
        let mut draft = Draft::new(usize::MAX, [].into_iter());
        for _ in 0..2 {
            assert_eq!(draft.event((1, 1, Form::Whole), b"{\"n\":", false), Err(Refused::Poison));
        }
        assert_eq!(draft.event((1, 2, Form::Whole), b"{\"n\":1}", false), Ok(()));
    }
}
