//! The aggregate of a window, and its figures.

use std::sync::Arc;

use smol_str::SmolStr;

use super::number::Number;
use super::tally::{Accumulator, LastKnown};
use crate::instrument::Venue;
use crate::time::UnixNanos;

/// A closed window of one symbol. It has exact sums, so that windows can be joined into longer ones without rounding twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub(super) start: UnixNanos,
    pub(super) end: UnixNanos,
    pub(super) symbol: Arc<str>,
    /// What each venue contributed, ordered by its name.
    pub(super) venues: Vec<(Venue, Accumulator)>,
    /// All venues together.
    pub(super) total: Accumulator,
    /// The values last known at the window's end.
    pub(super) standing: LastKnown,
    pub(super) tweets: u64,
    pub(super) custom: u64,
    pub(super) late: u64,
    pub(super) complete: bool,
    pub(super) simulated: bool,
    pub(super) down: Vec<SmolStr>,
    /// Whether the stream has the channel `funding`.
    pub(super) funding: bool,
}

/// The numeric fields of every aggregate. `resample` can use these.
pub const NUMERIC_FIELDS: [&str; 12] = [
    "price_avg",
    "price_open",
    "price_high",
    "price_low",
    "price_close",
    "vwap",
    "bid_avg",
    "ask_avg",
    "volume_sum",
    "tweets",
    "custom_count",
    "late",
];

/// The further numeric fields of a stream with the channel `funding`.
pub const FUNDING_FIELDS: [&str; 3] = ["funding_rate", "mark", "index"];

impl Aggregate {
    /// The window's first moment.
    pub const fn window_start(&self) -> UnixNanos {
        self.start
    }

    /// The first moment after the window; the event's `ts`.
    pub const fn window_end(&self) -> UnixNanos {
        self.end
    }

    /// What it is about: a symbol, or `*`.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// Whether nothing was known to be missing when the window closed.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The number of events in the window: trades, tweets, custom events and liquidations.
    pub const fn event_count(&self) -> u64 {
        self.total.trades + self.tweets + self.custom
    }

    /// A figure by the name of its field; `price` means `price_close`. `None` if there is no such numeric field, or the figure is not known.
    pub fn number(&self, field: &str) -> Option<Number> {
        self.total.number(field).or_else(|| self.standing.number(field)).or_else(|| self.count(field))
    }

    fn count(&self, field: &str) -> Option<Number> {
        let count = match field {
            "tweets" => self.tweets,
            "custom_count" => self.custom,
            "late" => self.late,
            _ => return None,
        };
        Some(Number::from_count(count))
    }

    /// Adds a later window, so that this is the aggregate over both. If windows are missing between them, it is not complete.
    pub(super) fn join(&mut self, next: &Self) {
        self.complete &= next.start == self.end;
        self.end = next.end;
        for (venue, tally) in &next.venues {
            tally_of(&mut self.venues, *venue).merge(tally);
        }
        self.total.merge(&next.total);
        self.standing = next.standing;
        self.tweets += next.tweets;
        self.custom += next.custom;
        self.late += next.late;
        self.complete &= next.complete;
        self.simulated |= next.simulated;
        self.down.extend_from_slice(&next.down);
        self.down.sort_unstable();
        self.down.dedup();
    }
}

/// The tally of `venue` in a list ordered by venue, which is put there if need be.
pub(super) fn tally_of(venues: &mut Vec<(Venue, Accumulator)>, venue: Venue) -> &mut Accumulator {
    let at = match venues.iter().position(|(known, _)| *known >= venue) {
        Some(at) if venues[at].0 == venue => at,
        Some(at) => {
            venues.insert(at, (venue, Accumulator::default()));
            at
        }
        None => {
            venues.push((venue, Accumulator::default()));
            venues.len() - 1
        }
    };
    &mut venues[at].1
}
