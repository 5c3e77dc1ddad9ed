//! The windows of a stream: events go in, one aggregate per symbol and window comes out.
//!
//! Everything is pure: time comes in as values, and the caller asks with [`Windows::close_due`] after each event (or run of events) and
//! at [`Windows::next_deadline`].
//!
//! The wire contract leaves these questions open. The rules are:
//! - An event is **late** if the watermark has passed the end of its window, or the window was already published. The next aggregate of its
//!   symbol counts it as late, and no sum includes it. If its price or quote is newer than the last known one, it becomes the last known.
//! - A window **lacks a source** that was down at any moment between the window's start and its close.
//! - If nothing was traded, there is no volume to weigh by, and `vwap` equals `price_avg`. A window without a price repeats the last known.
//! - A side of the book counts in `bid_avg` or `ask_avg` whenever an update gives it, changed or not. If the stream has no channel
//!   `ticker`, the tops of order books count whenever they change. A side that becomes empty counts in no mean, and is null from then on,
//!   unless another venue has one.
//! - `funding_rate`, `mark` and `index` are the values last known at the window's end, from whichever venue. Funding and liquidations exist
//!   only for perpetuals; they count for every symbol of the same pair that has the channel.
//! - If windows were left out (see [`Config::ring`]), the next one is not complete.

mod aggregate;
mod carried;
mod config;
mod from_spec;
mod intake;
mod json;
mod number;
mod quotes;
mod sides;
mod sources;
mod subject;
mod tally;
pub mod transform;

use std::time::Duration;

pub use aggregate::{Aggregate, FUNDING_FIELDS, NUMERIC_FIELDS};
pub use carried::WindowTakeover;
pub use config::{Config, Outcome, Subject};
pub use number::Number;

use crate::decimal::Price;
use crate::event::{Custom, MarketData, MarketEvent, Tweet};
use crate::event_clock::EventClock;
use crate::instrument::{Instrument, Symbol};
use crate::source::SourceStatus;
use crate::time::UnixNanos;
use subject::{Happening, Rules, SymbolWindows};

/// The windows of one stream.
#[derive(Clone, Debug)]
pub struct Windows {
    rules: Rules,
    backlog: Duration,
    clock: EventClock,
    /// Ordered by symbol.
    subjects: Vec<SymbolWindows>,
    /// Whether windows have opened.
    begun: bool,
    /// The end of the next window to close.
    due: UnixNanos,
}

/// When an event counts, and what is closed by then.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: UnixNanos,
    /// The start of the window it belongs to.
    start: UnixNanos,
    /// The start of the earliest window that is still open.
    open_from: UnixNanos,
}

impl Windows {
    /// The windows of a stream that begins at `now`.
    pub fn new(config: Config, now: UnixNanos) -> Self {
        let interval = config.interval;
        let count = (config.ring.as_nanos() / interval.as_nanos().max(1)).max(1);
        let backlog = interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let subjects = config.subjects.into_iter().map(|subject| SymbolWindows::new(subject, interval));
        let mut subjects: Vec<_> = subjects.collect();
        subjects.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let funding = subjects.iter().any(|subject| subject.channels.funding);
        let mut windows = Self {
            rules: Rules { interval, funding },
            backlog,
            clock: EventClock::new(config.pace, config.max_lag, now),
            subjects,
            begun: false,
            due: UnixNanos::from_nanos(i64::MAX),
        };
        windows.begin(now);
        windows
    }

    /// Takes an event of a venue that arrived at `now`. An order book only moves the clock; its best prices are passed by
    /// [`Windows::push_quote`].
    pub fn push_market(&mut self, event: &MarketEvent, now: UnixNanos) -> Outcome {
        let Some(moment) = self.observe(event.ts_exchange, now) else { return Outcome::Ignored };
        let (instrument, data) = (&*event.instrument, &event.data);
        if data.channel().needs_perpetual() {
            return self.push_to_pair(instrument, data, moment);
        }
        match self.subject(&instrument.symbol) {
            Some(subject) => subject.push_market(instrument.venue, data, moment),
            None => Outcome::Ignored,
        }
    }

    /// Takes the best bid and ask of an order book (`None` for an empty side), after an update with venue time `ts_exchange` that arrived at
    /// `now`. They count only if they differ from the previous ones.
    pub fn push_quote(
        &mut self,
        instrument: &Instrument,
        bid: Option<Price>,
        ask: Option<Price>,
        ts_exchange: Option<UnixNanos>,
        now: UnixNanos,
    ) -> Outcome {
        let Some(moment) = self.observe(ts_exchange, now) else { return Outcome::Ignored };
        match self.subject(&instrument.symbol) {
            Some(subject) => subject.push_top(instrument.venue, bid, ask, moment),
            None => Outcome::Ignored,
        }
    }

    /// Takes a tweet that arrived at `now`. It counts for every symbol of its asset.
    pub fn push_tweet(&mut self, tweet: &Tweet, now: UnixNanos) -> Outcome {
        let happening = Happening::Tweet { simulated: tweet.simulated };
        let concerns = |symbol: &Symbol| symbol.base().eq_ignore_ascii_case(&tweet.asset);
        self.push_to_all(happening, now, concerns)
    }

    /// Takes an event of a user's own source that arrived at `now`. It counts for the symbol that it names, or for every symbol.
    pub fn push_custom(&mut self, custom: &Custom, now: UnixNanos) -> Outcome {
        let named = custom.symbol.as_deref().map(Symbol::parse);
        let concerns = |symbol: &Symbol| match &named {
            Some(Ok(named)) => named == symbol,
            Some(Err(_)) => false,
            None => true,
        };
        self.push_to_all(Happening::Custom, now, concerns)
    }

    /// Sets the state of a source from `now` on, for one symbol or for all that have the source. Call [`Windows::close_due`] before: every
    /// window that is still open lacks a source that goes down.
    pub fn set_source(&mut self, name: &str, status: &SourceStatus, symbol: Option<&Symbol>, now: UnixNanos) {
        let at = self.clock.now(now);
        for subject in &mut self.subjects {
            let concerned = match symbol {
                Some(symbol) => subject.symbol.as_ref() == Some(symbol),
                None => subject.sources.contains(name),
            };
            if concerned {
                subject.sources.put(name, status, at);
            }
        }
    }

    /// Closes the windows that the watermark has passed at `now`. Returns their aggregates, ordered by window and then by symbol.
    pub fn close_due(&mut self, now: UnixNanos) -> Vec<Aggregate> {
        let mut closed = Vec::new();
        let Some(watermark) = self.clock.watermark(now).filter(|watermark| *watermark >= self.due) else {
            return closed;
        };
        let steady_since = self.clock.steady_since().unwrap_or(UnixNanos::EPOCH);
        let earliest = watermark.window_start(self.rules.interval).minus(self.backlog);
        while self.due <= watermark {
            let next = self.next_start_skipping(earliest);
            if next.plus(self.rules.interval) <= watermark {
                let due = self.subjects.iter_mut().filter(|subject| subject.next() == next);
                closed.extend(due.filter_map(|subject| subject.close(&self.rules, steady_since)));
            }
            self.due = self.next_start().plus(self.rules.interval);
        }
        closed
    }

    /// When, by our clock, the next window closes if no event moves the event clock before. `None` while the event clock does not exist.
    pub fn next_deadline(&self) -> Option<UnixNanos> {
        self.clock.deadline(self.due)
    }

    fn next_start_skipping(&mut self, earliest: UnixNanos) -> UnixNanos {
        for subject in &mut self.subjects {
            subject.skip_empty_before(earliest);
        }
        self.next_start()
    }

    fn next_start(&self) -> UnixNanos {
        let starts = self.subjects.iter().map(SymbolWindows::next);
        starts.min().unwrap_or(UnixNanos::from_nanos(i64::MAX))
    }

    fn observe(&mut self, ts_exchange: Option<UnixNanos>, now: UnixNanos) -> Option<Moment> {
        let at = self.clock.observe(ts_exchange, now)?;
        if !self.begun {
            self.begin(now);
        }
        let interval = self.rules.interval;
        let open_from = self.clock.watermark(now)?.window_start(interval);
        Some(Moment { at, start: at.window_start(interval), open_from })
    }

    /// Opens windows as soon as the event clock exists.
    fn begin(&mut self, now: UnixNanos) {
        let (Some(clock), Some(watermark)) = (self.clock.now(now), self.clock.watermark(now)) else { return };
        let interval = self.rules.interval;
        for subject in &mut self.subjects {
            subject.begin(clock.window_start(interval), watermark.window_start(interval));
        }
        self.begun = true;
        self.due = self.next_start().plus(interval);
    }

    fn push_to_all(
        &mut self,
        happening: Happening<'_>,
        now: UnixNanos,
        concerns: impl Fn(&Symbol) -> bool,
    ) -> Outcome {
        let Some(moment) = self.observe(None, now) else { return Outcome::Ignored };
        let concerned = self.subjects.iter_mut().filter(|s| s.symbol.as_ref().is_none_or(&concerns));
        let outcomes = concerned.map(|subject| subject.count(happening, moment));
        outcomes.max().unwrap_or(Outcome::Ignored)
    }

    fn push_to_pair(&mut self, instrument: &Instrument, data: &MarketData, moment: Moment) -> Outcome {
        let pair = &instrument.symbol;
        let is_of_pair = |symbol: &Symbol| symbol.base() == pair.base() && symbol.quote() == pair.quote();
        let concerned = self.subjects.iter_mut().filter(|s| s.symbol.as_ref().is_some_and(is_of_pair));
        let outcomes = concerned.map(|subject| subject.push_market(instrument.venue, data, moment));
        outcomes.max().unwrap_or(Outcome::Ignored)
    }

    fn subject(&mut self, symbol: &Symbol) -> Option<&mut SymbolWindows> {
        let found = self.subjects.binary_search_by(|subject| subject.symbol.as_ref().cmp(&Some(symbol)));
        found.ok().map(|at| &mut self.subjects[at])
    }
}

#[cfg(test)]
mod tests;
