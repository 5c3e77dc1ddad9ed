//! What is summed up while a window is open, per venue.
//!
//! Sums are integers: of prices and quantities at scale [`MAX_SCALE`], of their products at twice that. A venue's sums in one window
//! are kept under 2^166 (9·10^31 units), those of products under 2^219 (8·10^29 units); an event that would pass these bounds is
//! rejected. So 2^32 of them can be merged and stay under 2^198 and 2^251, and a sum times the 10^16 that [`Number::ratio`] needs under
//! 2^252: nothing ever wraps.

use ethnum::I256;

use super::number::Number;
use crate::decimal::{MAX_SCALE, Price, Quantity, Rate, to_fixed};
use crate::instrument::Venue;
use crate::time::UnixNanos;

const SUM_BOUND: I256 = I256::from_words(1 << (166 - 128), 0);
const PRODUCT_SUM_BOUND: I256 = I256::from_words(1 << (219 - 128), 0);

/// A figure of an event is so large that the exact sums could not hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("figure too large to be summed exactly")]
pub(super) struct TooLarge;

fn bounded(sum: Option<I256>, bound: I256) -> Result<I256, TooLarge> {
    sum.filter(|sum| (-bound..=bound).contains(sum)).ok_or(TooLarge)
}

/// A value, and what settles which of two is the later one: time, then the venue's name, then arrival.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Timestamped<T> {
    pub(super) ts: UnixNanos,
    pub(super) venue: Venue,
    pub(super) value: T,
}

impl<T: Copy> Timestamped<T> {
    fn key(&self) -> (UnixNanos, Venue) {
        (self.ts, self.venue)
    }

    /// The later of a mark and one that arrived after it.
    pub(super) fn later(earlier: Option<Self>, arrived: Option<Self>) -> Option<Self> {
        match (earlier, arrived) {
            (Some(a), Some(b)) if a.key() > b.key() => Some(a),
            (a, b) => b.or(a),
        }
    }
}

impl<T: Into<Number>> From<Timestamped<T>> for Number {
    fn from(mark: Timestamped<T>) -> Self {
        mark.value.into()
    }
}

/// The best price of one side of the book; `None` in the mark says that the side is empty.
pub(super) type Side = Timestamped<Option<Price>>;

/// Figures of a symbol that stand until a newer one comes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct LastKnown {
    pub(super) price: Option<Timestamped<Price>>,
    pub(super) bid: Option<Side>,
    pub(super) ask: Option<Side>,
    pub(super) funding_rate: Option<Timestamped<Rate>>,
    pub(super) mark: Option<Timestamped<Price>>,
    pub(super) index: Option<Timestamped<Price>>,
}

impl LastKnown {
    /// Takes over what is later in `arrived`.
    pub(super) fn update(&mut self, arrived: &Self) {
        self.price = Timestamped::later(self.price, arrived.price);
        self.bid = Timestamped::later(self.bid, arrived.bid);
        self.ask = Timestamped::later(self.ask, arrived.ask);
        self.funding_rate = Timestamped::later(self.funding_rate, arrived.funding_rate);
        self.mark = Timestamped::later(self.mark, arrived.mark);
        self.index = Timestamped::later(self.index, arrived.index);
    }
}

impl LastKnown {
    /// The figure of this field where nothing in a window tells it: all prices are the last one.
    pub(super) fn number(&self, field: &str) -> Option<Number> {
        match field {
            "price_avg" | "price_open" | "price_high" | "price_low" | "price_close" | "price" | "vwap" => {
                self.price.map(Number::from)
            }
            "bid_avg" => self.bid_number(),
            "ask_avg" => self.ask_number(),
            "funding_rate" => self.funding_rate.map(Number::from),
            "mark" => self.mark.map(Number::from),
            "index" => self.index.map(Number::from),
            _ => None,
        }
    }

    /// The best bid, where there is one.
    pub(super) fn bid_number(&self) -> Option<Number> {
        self.bid?.value.map(Number::from)
    }

    /// The best ask, where there is one.
    pub(super) fn ask_number(&self) -> Option<Number> {
        self.ask?.value.map(Number::from)
    }
}

/// What an event of a venue tells about a symbol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    /// A trade.
    Trade { price: Price, size: Quantity },
    /// New figures; `None` is unchanged.
    Figures(Figures),
}

/// Figures that an event gives anew; `None` is unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// What stands for a price where the stream has no trades.
    pub(super) price: Option<Price>,
    pub(super) bid: Option<Price>,
    pub(super) ask: Option<Price>,
    pub(super) funding_rate: Option<Rate>,
    pub(super) mark: Option<Price>,
    pub(super) index: Option<Price>,
    /// Whether the side has become empty.
    pub(super) no_bid: bool,
    pub(super) no_ask: bool,
}

impl Figures {
    /// Whether it gives nothing anew.
    pub(super) fn is_empty(&self) -> bool {
        let prices = [self.price, self.bid, self.ask, self.mark, self.index];
        let tells_a_side = self.no_bid || self.no_ask;
        prices.iter().all(Option::is_none) && self.funding_rate.is_none() && !tells_a_side
    }
}

impl Input {
    /// What stands after this event.
    pub(super) fn standing(&self, ts: UnixNanos, venue: Venue) -> LastKnown {
        fn mark<T>(ts: UnixNanos, venue: Venue, value: Option<T>) -> Option<Timestamped<T>> {
            value.map(|value| Timestamped { ts, venue, value })
        }
        let at = |price| mark(ts, venue, price);
        match self {
            Self::Trade { price, .. } => LastKnown { price: at(Some(*price)), ..LastKnown::default() },
            Self::Figures(figures) => LastKnown {
                price: at(figures.price),
                bid: mark(ts, venue, side(figures.bid, figures.no_bid)),
                ask: mark(ts, venue, side(figures.ask, figures.no_ask)),
                funding_rate: mark(ts, venue, figures.funding_rate),
                mark: at(figures.mark),
                index: at(figures.index),
            },
        }
    }
}

/// What an update says of a side: nothing, that it is empty, or its best price.
fn side(price: Option<Price>, is_empty: bool) -> Option<Option<Price>> {
    price.map(Some).or(is_empty.then_some(None))
}

/// Prices within a window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Prices {
    pub(super) count: u64,
    pub(super) sum: I256,
    pub(super) open: Timestamped<Price>,
    pub(super) high: Price,
    pub(super) low: Price,
    pub(super) close: Timestamped<Price>,
}

impl Prices {
    fn one(at: Timestamped<Price>, fixed: I256) -> Self {
        Self { count: 1, sum: fixed, open: at, high: at.value, low: at.value, close: at }
    }

    /// Adds prices of which those at the same time and venue arrived later.
    fn merge(&mut self, arrived: &Self) {
        self.count += arrived.count;
        self.sum += arrived.sum;
        self.high = self.high.max(arrived.high);
        self.low = self.low.min(arrived.low);
        if arrived.open.key() < self.open.key() {
            self.open = arrived.open;
        }
        if arrived.close.key() >= self.close.key() {
            self.close = arrived.close;
        }
    }

    /// The mean, rounded once.
    pub(super) fn mean(&self) -> Option<Number> {
        Number::ratio(self.sum, I256::from(self.count), MAX_SCALE)
    }
}

/// Updates of the best bid, or of the best ask, within a window.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Quotes {
    count: u64,
    sum: I256,
}

impl Quotes {
    fn with(self, quote: Option<Price>) -> Result<Self, TooLarge> {
        let Some(quote) = quote else { return Ok(self) };
        let sum = bounded(self.sum.checked_add(to_fixed(quote.get())), SUM_BOUND)?;
        Ok(Self { count: self.count + 1, sum })
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
    }

    /// The mean over the updates, rounded once; `None` without one.
    pub(super) fn mean(&self) -> Option<Number> {
        Number::ratio(self.sum, I256::from(self.count), MAX_SCALE)
    }
}

/// What one venue contributed to a window, or several put together.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Accumulator {
    pub(super) prices: Option<Prices>,
    pub(super) trades: u64,
    /// The traded quantity, at scale [`MAX_SCALE`].
    pub(super) volume: I256,
    /// The sum of price times quantity, at twice [`MAX_SCALE`].
    pub(super) notional: I256,
    pub(super) bids: Quotes,
    pub(super) asks: Quotes,
    /// The last figures but the price, which is in `prices`.
    pub(super) last: LastKnown,
}

impl Accumulator {
    /// Adds an event; on failure nothing has changed.
    pub(super) fn add(&mut self, input: &Input, ts: UnixNanos, venue: Venue) -> Result<(), TooLarge> {
        match input {
            Input::Trade { price, size } => self.add_trade(Timestamped { ts, venue, value: *price }, *size),
            Input::Figures(figures) => self.add_figures(figures, ts, venue),
        }
    }

    fn add_trade(&mut self, at: Timestamped<Price>, size: Quantity) -> Result<(), TooLarge> {
        let (price, size) = (to_fixed(at.value.get()), to_fixed(size.get()));
        let product = price.checked_mul(size).ok_or(TooLarge)?;
        let volume = bounded(self.volume.checked_add(size), SUM_BOUND)?;
        let notional = bounded(self.notional.checked_add(product), PRODUCT_SUM_BOUND)?;
        self.add_price(at, price)?;
        (self.volume, self.notional) = (volume, notional);
        self.trades += 1;
        Ok(())
    }

    fn add_figures(&mut self, figures: &Figures, ts: UnixNanos, venue: Venue) -> Result<(), TooLarge> {
        let (bids, asks) = (self.bids.with(figures.bid)?, self.asks.with(figures.ask)?);
        if let Some(price) = figures.price {
            self.add_price(Timestamped { ts, venue, value: price }, to_fixed(price.get()))?;
        }
        (self.bids, self.asks) = (bids, asks);
        self.last.update(&Input::Figures(Figures { price: None, ..*figures }).standing(ts, venue));
        Ok(())
    }

    fn add_price(&mut self, at: Timestamped<Price>, fixed: I256) -> Result<(), TooLarge> {
        let one = Prices::one(at, fixed);
        let Some(prices) = &mut self.prices else {
            bounded(Some(fixed), SUM_BOUND)?;
            self.prices = Some(one);
            return Ok(());
        };
        bounded(prices.sum.checked_add(fixed), SUM_BOUND)?;
        prices.merge(&one);
        Ok(())
    }

    /// Adds a whole tally, of which events at the same time and venue arrived later.
    pub(super) fn merge(&mut self, arrived: &Self) {
        match (&mut self.prices, &arrived.prices) {
            (Some(prices), Some(more)) => prices.merge(more),
            (none @ None, more) => *none = *more,
            (Some(_), None) => {}
        }
        self.trades += arrived.trades;
        self.volume += arrived.volume;
        self.notional += arrived.notional;
        self.bids.merge(&arrived.bids);
        self.asks.merge(&arrived.asks);
        self.last.update(&arrived.last);
    }

    /// The volume-weighted average price, rounded once; the mean price where nothing was traded.
    pub(super) fn vwap(&self) -> Option<Number> {
        Number::ratio(self.notional, self.volume, MAX_SCALE).or_else(|| self.prices?.mean())
    }

    /// The figure of this field; `None` where these events tell nothing about it.
    pub(super) fn number(&self, field: &str) -> Option<Number> {
        match field {
            "price_avg" => self.prices?.mean(),
            "price_open" => Some(self.prices?.open.into()),
            "price_high" => Some(self.prices?.high.into()),
            "price_low" => Some(self.prices?.low.into()),
            "price_close" | "price" => Some(self.prices?.close.into()),
            "vwap" => self.vwap(),
            "bid_avg" => self.bids.mean(),
            "ask_avg" => self.asks.mean(),
            "volume_sum" => Some(Number::from_fixed(self.volume)),
            _ => None,
        }
    }

    /// What stands after these events.
    pub(super) fn standing(&self) -> LastKnown {
        LastKnown { price: self.prices.map(|prices| prices.close), ..self.last }
    }
}
