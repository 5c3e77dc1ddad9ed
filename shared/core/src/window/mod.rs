//! The windows of a stream: events go in, one aggregate per symbol and window comes out.
//!
//! Everything is pure: time comes in as values, and the caller asks with [`Windows::close_due`] after each event (or run of events) and
//! at [`Windows::next_deadline`].
//!
//! What the wire contract leaves open is settled thus:
//! - An event is **late** when the watermark has passed the end of its window, or the window was already given out. It is counted in the
//!   next aggregate of its symbol, and enters no sum; but a price or quote newer than the last one known becomes the one that stands.
//! - A window **lacks a source** that was down at any moment between its start and its close.
//! - Where nothing was traded there is no volume to weigh by: `vwap` is then `price_avg`. Prices that stand are given as they are.
//! - A side of the book counts in `bid_avg` or `ask_avg` when an update gives it, changed or not. The tops of order books count where
//!   the stream has no channel `ticker`.
//! - `funding`, `mark` and `index` are those last known at the window's end, of whichever venue. Funding and liquidations, which only
//!   perpetuals have, count for every symbol of their pair.
//! - Where windows were left out (see [`Config::ring`]), the next one is not complete.

mod aggregate;
mod carried;
mod config;
mod json;
mod number;
mod quotes;
mod sources;
mod subject;
mod tally;
pub mod transform;

use std::time::Duration;

pub use aggregate::{Aggregate, FUNDING_FIELDS, NUMERIC_FIELDS};
pub use carried::Carried;
pub use config::{Config, Outcome, Subject};
pub use number::Number;

use crate::decimal::Price;
use crate::event::{Custom, Funding, MarketData, MarketEvent, Ticker, Trade, Tweet};
use crate::event_clock::EventClock;
use crate::instrument::{Instrument, Symbol};
use crate::source::SourceStatus;
use crate::time::UnixNanos;
use config::Channels;
use subject::{Happening, Rules, SubjectWindows};
use tally::{Figures, Input};

/// The windows of one stream.
#[derive(Clone, Debug)]
pub struct Windows {
    rules: Rules,
    backlog: Duration,
    channels: Channels,
    clock: EventClock,
    /// Ordered by symbol.
    subjects: Vec<SubjectWindows>,
    /// Whether windows have opened.
    begun: bool,
    /// The end of the next window to close.
    due: UnixNanos,
}

/// When an event counts, and what is closed by then.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: UnixNanos,
    /// The start of the earliest window that is still open.
    open_from: UnixNanos,
}

impl Windows {
    /// The windows of a stream that begins at `now`.
    pub fn new(config: Config, now: UnixNanos) -> Self {
        let channels = Channels::new(&config.channels);
        let interval = config.interval;
        let count = (config.ring.as_nanos() / interval.as_nanos().max(1)).max(1);
        let backlog = interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let subjects = config.subjects.into_iter().map(|subject| SubjectWindows::new(subject, interval));
        let mut subjects: Vec<_> = subjects.collect();
        subjects.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        let needs_price = channels.have_a_price();
        let mut windows = Self {
            rules: Rules { interval, needs_price, funding: channels.funding },
            backlog,
            channels,
            clock: EventClock::new(config.pace, config.max_lag, now),
            subjects,
            begun: false,
            due: UnixNanos::from_nanos(i64::MAX),
        };
        windows.begin(now);
        windows
    }

    /// Takes an event of a venue that arrived at `now`. Order books only move the clock: their tops come in through
    /// [`Windows::push_quote`].
    pub fn push_market(&mut self, event: &MarketEvent, now: UnixNanos) -> Outcome {
        let Some(moment) = self.observe(event.ts_exchange, now) else { return Outcome::Ignored };
        let instrument = &*event.instrument;
        match &event.data {
            MarketData::Trade(trade) => self.push_trade(instrument, trade, moment),
            MarketData::Ticker(ticker) => self.push_ticker(instrument, ticker, moment),
            MarketData::Funding(funding) => self.push_funding(instrument, funding, moment),
            MarketData::Liquidation(_) => self.push_liquidation(instrument, moment),
            MarketData::Book(_) => Outcome::Ignored,
        }
    }

    /// Takes the best bid and ask of an order book after an update of venue time `ts_exchange` that arrived at `now`.
    pub fn push_quote(
        &mut self,
        instrument: &Instrument,
        bid: Option<Price>,
        ask: Option<Price>,
        ts_exchange: Option<UnixNanos>,
        now: UnixNanos,
    ) -> Outcome {
        let Some(moment) = self.observe(ts_exchange, now) else { return Outcome::Ignored };
        if !self.channels.order_book || self.channels.ticker {
            return Outcome::Ignored;
        }
        let top = Ticker { bid, ask, ..Ticker::default() };
        self.push_figures(instrument, &top, moment)
    }

    /// Takes a tweet that arrived at `now`: one more for every symbol of its asset.
    pub fn push_tweet(&mut self, tweet: &Tweet, now: UnixNanos) -> Outcome {
        let happening = Happening::Tweet { simulated: tweet.simulated };
        let concerns = |symbol: &Symbol| symbol.base().eq_ignore_ascii_case(&tweet.asset);
        self.push_to_all(happening, now, concerns)
    }

    /// Takes an event of a user's own source that arrived at `now`: one more for the symbol it names, or for every symbol.
    pub fn push_custom(&mut self, custom: &Custom, now: UnixNanos) -> Outcome {
        let named = custom.symbol.as_deref().map(Symbol::parse);
        let concerns = |symbol: &Symbol| match &named {
            Some(Ok(named)) => named == symbol,
            Some(Err(_)) => false,
            None => true,
        };
        self.push_to_all(Happening::Custom, now, concerns)
    }

    /// Takes note of how a source fares from `now` on, for one symbol or for all that have it. Ask for what is due first: what is open
    /// now lacks a source that goes down.
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

    /// Closes the windows that the watermark has passed at `now`: their aggregates by window, then by symbol.
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

    /// When, by our clock, the next window closes if no event moves the event clock before. `None` while there is no clock.
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
        let starts = self.subjects.iter().map(SubjectWindows::next);
        starts.min().unwrap_or(UnixNanos::from_nanos(i64::MAX))
    }

    fn observe(&mut self, ts_exchange: Option<UnixNanos>, now: UnixNanos) -> Option<Moment> {
        let at = self.clock.observe(ts_exchange, now)?;
        if !self.begun {
            self.begin(now);
        }
        let open_from = self.clock.watermark(now)?.window_start(self.rules.interval);
        Some(Moment { at, open_from })
    }

    /// Opens windows as soon as there is a clock. Where a price is needed, a window that is still open although it ended before the
    /// clock began may get one; where none is needed, the stream begins with the window of its first moment.
    fn begin(&mut self, now: UnixNanos) {
        let clock = if self.rules.needs_price { self.clock.watermark(now) } else { self.clock.now(now) };
        let Some(first) = clock.map(|time| time.window_start(self.rules.interval)) else { return };
        for subject in &mut self.subjects {
            subject.begin(first);
        }
        self.begun = true;
        self.due = self.next_start().plus(self.rules.interval);
    }

    fn push_trade(&mut self, instrument: &Instrument, trade: &Trade, moment: Moment) -> Outcome {
        if !self.channels.trades {
            return Outcome::Ignored;
        }
        let input = Input::Trade { price: trade.price, size: trade.size };
        self.push_to_one(instrument, &input, moment)
    }

    fn push_ticker(&mut self, instrument: &Instrument, ticker: &Ticker, moment: Moment) -> Outcome {
        if !self.channels.ticker {
            return Outcome::Ignored;
        }
        self.push_figures(instrument, ticker, moment)
    }

    fn push_figures(&mut self, instrument: &Instrument, ticker: &Ticker, moment: Moment) -> Outcome {
        let (funding, has_trades) = (self.channels.funding, self.channels.trades);
        let Some(subject) = self.subject(&instrument.symbol) else { return Outcome::Ignored };
        let price = if has_trades { None } else { subject.quotes.price(instrument.venue, ticker) };
        let figures = Figures {
            price,
            bid: ticker.bid,
            ask: ticker.ask,
            mark: ticker.mark.filter(|_| funding),
            index: ticker.index.filter(|_| funding),
            funding_rate: None,
        };
        if figures.is_empty() {
            return Outcome::Ignored;
        }
        self.push_to_one(instrument, &Input::Figures(figures), moment)
    }

    fn push_funding(&mut self, instrument: &Instrument, funding: &Funding, moment: Moment) -> Outcome {
        if !self.channels.funding {
            return Outcome::Ignored;
        }
        let figures = Figures {
            funding_rate: funding.rate,
            mark: funding.mark,
            index: funding.index,
            ..Figures::default()
        };
        let input = Input::Figures(figures);
        self.push_to_pair(instrument, Happening::Market(instrument.venue, &input), moment)
    }

    fn push_liquidation(&mut self, instrument: &Instrument, moment: Moment) -> Outcome {
        if !self.channels.liquidations {
            return Outcome::Ignored;
        }
        self.push_to_pair(instrument, Happening::Liquidation(instrument.venue), moment)
    }

    fn push_to_one(&mut self, instrument: &Instrument, input: &Input, moment: Moment) -> Outcome {
        let interval = self.rules.interval;
        let happening = Happening::Market(instrument.venue, input);
        match self.subject(&instrument.symbol) {
            Some(subject) => subject.count(happening, moment, interval),
            None => Outcome::Ignored,
        }
    }

    fn push_to_pair(&mut self, instrument: &Instrument, happening: Happening<'_>, moment: Moment) -> Outcome {
        let pair = &instrument.symbol;
        self.push_where(happening, moment, |symbol| {
            symbol.base() == pair.base() && symbol.quote() == pair.quote()
        })
    }

    fn push_to_all(
        &mut self,
        happening: Happening<'_>,
        now: UnixNanos,
        concerns: impl Fn(&Symbol) -> bool,
    ) -> Outcome {
        match self.observe(None, now) {
            Some(moment) => self.push_where(happening, moment, concerns),
            None => Outcome::Ignored,
        }
    }

    /// Counts in every subject that is `*` or that `concerns` picks.
    fn push_where(
        &mut self,
        happening: Happening<'_>,
        moment: Moment,
        concerns: impl Fn(&Symbol) -> bool,
    ) -> Outcome {
        let interval = self.rules.interval;
        let concerned = self.subjects.iter_mut().filter(|s| s.symbol.as_ref().is_none_or(&concerns));
        let outcomes = concerned.map(|subject| subject.count(happening, moment, interval));
        outcomes.max().unwrap_or(Outcome::Ignored)
    }

    fn subject(&mut self, symbol: &Symbol) -> Option<&mut SubjectWindows> {
        let found = self.subjects.binary_search_by(|subject| subject.symbol.as_ref().cmp(&Some(symbol)));
        found.ok().map(|at| &mut self.subjects[at])
    }
}

#[cfg(test)]
mod tests;
