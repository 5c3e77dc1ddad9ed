//! The windows of one subject of a stream: a symbol, or `*` where the stream has none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::aggregate::{Aggregate, tally_of};
use super::intake::Channels;
use super::quotes::VenueQuotes;
use super::sides::Sides;
use super::sources::Sources;
use super::tally::{Accumulator, Input, LastKnown};
use super::{Moment, Outcome, Subject};
use crate::instrument::{Symbol, Venue};
use crate::time::UnixNanos;

/// What does not change while the stream runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) interval: Duration,
    /// Whether any subject has the channel `funding`.
    pub(super) funding: bool,
}

/// The state of one subject.
#[derive(Clone, Debug)]
pub(super) struct SymbolWindows {
    pub(super) symbol: Option<Symbol>,
    pub(super) channels: Channels,
    name: Arc<str>,
    /// The start of the next window to close; `None` until windows open.
    next: Option<UnixNanos>,
    /// Windows that hold something, by start. Empty ones are made up when they close.
    open: VecDeque<OpenWindow>,
    /// Whether an earlier writer gave out windows: none is held back for want of a price, which a projection may have left out.
    goes_on: bool,
    /// What stands at the start of the next window to close.
    pub(super) standing: LastKnown,
    sides: Sides,
    /// Late events since the last aggregate.
    late: u64,
    /// Whether windows were left out since the last one closed.
    cut: bool,
    pub(super) sources: Sources,
    pub(super) quotes: VenueQuotes,
}

#[derive(Clone, Debug)]
struct OpenWindow {
    start: UnixNanos,
    venues: Vec<(Venue, Accumulator)>,
    tweets: u64,
    custom: u64,
    simulated: bool,
}

impl OpenWindow {
    fn new(start: UnixNanos) -> Self {
        Self { start, venues: Vec::new(), tweets: 0, custom: 0, simulated: false }
    }

    fn add(&mut self, happening: Happening<'_>, at: UnixNanos) -> Outcome {
        match happening {
            Happening::Market(venue, input) => return self.add_input(venue, input, at),
            Happening::Tweet { simulated } => {
                self.tweets += 1;
                self.simulated |= simulated;
            }
            Happening::Custom => self.custom += 1,
            Happening::Liquidation(venue) => {
                tally_of(&mut self.venues, venue);
                self.custom += 1;
            }
        }
        Outcome::Counted
    }

    fn add_input(&mut self, venue: Venue, input: &Input, at: UnixNanos) -> Outcome {
        let known = self.venues.len();
        if tally_of(&mut self.venues, venue).add(input, at, venue).is_ok() {
            return Outcome::Counted;
        }
        if self.venues.len() > known {
            self.venues.retain(|(new, _)| *new != venue);
        }
        Outcome::TooLarge
    }
}

/// Something that happened, as a window counts it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening<'a> {
    /// Data of a venue.
    Market(Venue, &'a Input),
    /// A tweet, and whether a simulation made it up.
    Tweet { simulated: bool },
    /// A custom event.
    Custom,
    /// A liquidation at a venue.
    Liquidation(Venue),
}

impl SymbolWindows {
    pub(super) fn new(subject: Subject, interval: Duration) -> Self {
        let name = subject.symbol.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
        Self {
            symbol: subject.symbol,
            channels: Channels::new(&subject.channels),
            name: name.into(),
            next: subject.carried.map(|carried| aligned_up(carried.window_end, interval)),
            open: VecDeque::new(),
            goes_on: subject.carried.is_some(),
            standing: subject.carried.map(|carried| carried.standing()).unwrap_or_default(),
            sides: Sides::default(),
            late: 0,
            cut: false,
            sources: Sources::new(&subject.sources),
            quotes: VenueQuotes::default(),
        }
    }

    /// Opens windows, unless an earlier writer left them open: from that of the clock's first moment; where a price is needed, from that
    /// of the watermark, since a window that ended before the clock began may still get one.
    pub(super) fn begin(&mut self, clock_window: UnixNanos, watermark_window: UnixNanos) {
        let needs_price = self.channels.have_a_price();
        self.next.get_or_insert(if needs_price { watermark_window } else { clock_window });
    }

    /// The start of the next window to close.
    pub(super) fn next(&self) -> UnixNanos {
        self.next.unwrap_or(UnixNanos::from_nanos(i64::MAX))
    }

    /// Counts what happened in its window, or as late where that is closed.
    pub(super) fn count(&mut self, happening: Happening<'_>, moment: Moment) -> Outcome {
        let Moment { at, start, open_from } = moment;
        if start < open_from.max(self.next()) {
            return self.count_late(happening, at);
        }
        self.window(start).add(happening, at)
    }

    /// Too late to be part of its window, but what it says may still be the newest there is.
    fn count_late(&mut self, happening: Happening<'_>, at: UnixNanos) -> Outcome {
        self.late += 1;
        if let Happening::Market(venue, input) = happening {
            self.stand(venue, &input.standing(at, venue));
        }
        Outcome::Late
    }

    /// Takes over what a venue told. A side that is empty at one venue is not so at another.
    fn stand(&mut self, venue: Venue, arrived: &LastKnown) {
        self.standing.update(arrived);
        self.sides.update(venue, arrived);
        self.standing.bid = Sides::best(&self.sides.bids).or(self.standing.bid);
        self.standing.ask = Sides::best(&self.sides.asks).or(self.standing.ask);
    }

    fn window(&mut self, start: UnixNanos) -> &mut OpenWindow {
        let after = self.open.iter().rev().take_while(|window| window.start >= start).count();
        let at = self.open.len() - after;
        if self.open.get(at).is_none_or(|window| window.start != start) {
            self.open.insert(at, OpenWindow::new(start));
        }
        &mut self.open[at]
    }

    /// Leaves out empty windows before `earliest`.
    pub(super) fn skip_empty_before(&mut self, earliest: UnixNanos) {
        let filled = self.open.front().map_or(earliest, |window| window.start.min(earliest));
        if let Some(next) = self.next.as_mut().filter(|next| **next < filled) {
            *next = filled;
            self.cut = true;
        }
    }

    /// Closes the next window, which began late if it began before `steady_since`. `None` where there is no price yet and the stream
    /// is to have one.
    pub(super) fn close(&mut self, rules: &Rules, steady_since: UnixNanos) -> Option<Aggregate> {
        let start = self.next();
        let end = start.plus(rules.interval);
        self.next = Some(end);
        let filled = self.open.pop_front_if(|window| window.start == start);
        let window = filled.unwrap_or_else(|| OpenWindow::new(start));
        let total = sum(&window.venues);
        window.venues.iter().for_each(|(venue, tally)| self.stand(*venue, &tally.standing()));
        if self.channels.have_a_price() && self.standing.price.is_none() && !self.goes_on {
            return None;
        }
        let down = self.sources.lacking(start);
        let whole = start >= steady_since && !std::mem::take(&mut self.cut);
        Some(Aggregate {
            start,
            end,
            symbol: Arc::clone(&self.name),
            venues: window.venues,
            total,
            standing: self.standing,
            tweets: window.tweets,
            custom: window.custom,
            late: std::mem::take(&mut self.late),
            complete: whole && down.is_empty(),
            simulated: window.simulated || self.sources.any_simulated(),
            down,
            funding: rules.funding,
        })
    }
}

/// The first window boundary at or after `time`.
fn aligned_up(time: UnixNanos, interval: Duration) -> UnixNanos {
    time.plus(interval.saturating_sub(Duration::from_nanos(1))).window_start(interval)
}

fn sum(venues: &[(Venue, Accumulator)]) -> Accumulator {
    let mut total = Accumulator::default();
    for (_, tally) in venues {
        total.merge(tally);
    }
    total
}
