//! Normalised events: the common form of the data of all venues and sources.

use std::sync::Arc;

use rust_decimal::Decimal;
use smol_str::SmolStr;

use crate::decimal::{Price, Quantity, Rate};
use crate::instrument::Instrument;
use crate::time::UnixNanos;

/// One event of one instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketEvent {
    /// What it is about.
    pub instrument: Arc<Instrument>,
    /// When we received it.
    pub ts_event: UnixNanos,
    /// The venue's time of the event; `None` if its frame has none (Binance spot `bookTicker`).
    pub ts_exchange: Option<UnixNanos>,
    /// What happened.
    pub data: MarketData,
}

/// What happened to an instrument.
#[derive(Clone, Debug, PartialEq)]
pub enum MarketData {
    /// A trade.
    Trade(Trade),
    /// New values of some of the ticker's figures.
    Ticker(Ticker),
    /// A change of the order book, or the whole of it.
    Book(BookUpdate),
    /// The funding of a perpetual.
    Funding(Funding),
    /// A forced closing of somebody's position.
    Liquidation(Liquidation),
}

impl MarketData {
    /// The channel that carries it.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Trade(_) => Channel::Trades,
            Self::Ticker(_) => Channel::Ticker,
            Self::Book(_) => Channel::OrderBook,
            Self::Funding(_) => Channel::Funding,
            Self::Liquidation(_) => Channel::Liquidations,
        }
    }
}

/// A kind of market data that can be subscribed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Channel {
    /// Every trade.
    Trades,
    /// Best bid and ask, last price, mark and index.
    Ticker,
    /// The order book.
    OrderBook,
    /// Funding rates of perpetuals.
    Funding,
    /// Liquidations of perpetuals.
    Liquidations,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 5] =
        [Self::Trades, Self::Ticker, Self::OrderBook, Self::Funding, Self::Liquidations];

    /// The name in specs, topics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Ticker => "ticker",
            Self::OrderBook => "orderbook",
            Self::Funding => "funding",
            Self::Liquidations => "liquidations",
        }
    }

    /// The channel of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }

    /// Whether only perpetuals have it.
    pub const fn needs_perpetual(self) -> bool {
        matches!(self, Self::Funding | Self::Liquidations)
    }
}

/// The side of an order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
    /// The venue did not say.
    Unknown,
}

impl Side {
    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
            Self::Unknown => "unknown",
        }
    }
}

/// A trade.
#[derive(Clone, Debug, PartialEq)]
pub struct Trade {
    /// The price paid.
    pub price: Price,
    /// The amount in the base currency (contracts are converted).
    pub size: Quantity,
    /// The taker's side.
    pub side: Side,
    /// The venue's id, unique per instrument.
    pub trade_id: SmolStr,
}

/// Figures of a ticker. In an event of a connector `None` means unchanged. In a published event it means not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ticker {
    /// The best bid's price.
    pub bid: Option<Price>,
    /// The best ask's price.
    pub ask: Option<Price>,
    /// The amount at the best bid, in the base currency.
    pub bid_size: Option<Quantity>,
    /// The amount at the best ask, in the base currency.
    pub ask_size: Option<Quantity>,
    /// The last trade's price.
    pub last: Option<Price>,
    /// A perpetual's mark price.
    pub mark: Option<Price>,
    /// The index price behind a perpetual.
    pub index: Option<Price>,
    /// Open interest in the base currency.
    pub open_interest: Option<Quantity>,
    /// Whether the side is empty, so that there is no bid. This is not the same as `bid: None`, which means unchanged or not known.
    pub no_bid: bool,
    /// The same for the ask.
    pub no_ask: bool,
}

impl Ticker {
    /// Whether this is an update of the best bid or ask, which is what `bid_avg` and `ask_avg` count.
    pub const fn is_quote(&self) -> bool {
        self.bid.is_some() || self.ask.is_some() || self.no_bid || self.no_ask
    }

    /// Takes over every figure that `update` has. A side that has become empty has neither price nor amount.
    pub fn merge(&mut self, update: &Self) {
        fn take<T: Copy>(into: &mut Option<T>, from: Option<T>) {
            *into = from.or(*into);
        }
        take(&mut self.bid, update.bid);
        take(&mut self.ask, update.ask);
        take(&mut self.bid_size, update.bid_size);
        take(&mut self.ask_size, update.ask_size);
        take(&mut self.last, update.last);
        take(&mut self.mark, update.mark);
        take(&mut self.index, update.index);
        take(&mut self.open_interest, update.open_interest);
        self.no_bid = update.no_bid || self.no_bid && update.bid.is_none();
        self.no_ask = update.no_ask || self.no_ask && update.ask.is_none();
        if self.no_bid {
            (self.bid, self.bid_size) = (None, None);
        }
        if self.no_ask {
            (self.ask, self.ask_size) = (None, None);
        }
    }
}

/// A price and the whole amount that stands at it; zero removes the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The price.
    pub price: Price,
    /// The amount in the base currency.
    pub size: Quantity,
}

/// An update of a venue's order book. The sizes of levels are absolute, not changes.
#[derive(Clone, Debug, PartialEq)]
pub struct BookUpdate {
    /// Whole book or changes.
    pub kind: BookUpdateKind,
    /// Bids, in the venue's order.
    pub bids: Vec<Level>,
    /// Asks, in the venue's order.
    pub asks: Vec<Level>,
    /// The venue's id after this update.
    pub last_id: u64,
    /// The first id that this update covers, if the venue gives a range (Binance `U`).
    pub first_id: Option<u64>,
    /// The id of the update before, if the venue gives it (Binance USD-M `pu`, OKX `prevSeqId`).
    pub prev_id: Option<u64>,
}

/// How to apply a [`BookUpdate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookUpdateKind {
    /// Replaces the book.
    Snapshot,
    /// Changes levels of the book.
    Delta,
}

/// The funding of a perpetual.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Funding {
    /// The rate of the running interval; positive means that longs pay. `None`: unchanged.
    pub rate: Option<Rate>,
    /// When it will be paid next.
    pub next_time: Option<UnixNanos>,
    /// The mark price.
    pub mark: Option<Price>,
    /// The index price.
    pub index: Option<Price>,
}

/// A forced closing of somebody's position.
#[derive(Clone, Debug, PartialEq)]
pub struct Liquidation {
    /// The liquidating order's side: `Sell` means that a long was liquidated.
    pub side: Side,
    /// The price (average or bankruptcy price, as the venue gives).
    pub price: Price,
    /// The amount in the base currency.
    pub size: Quantity,
}

/// A post on a social network.
#[derive(Clone, Debug, PartialEq)]
pub struct Tweet {
    /// The provider's id.
    pub id: SmolStr,
    /// Who wrote it.
    pub author: SmolStr,
    /// What it says.
    pub text: String,
    /// The asset it is about, such as `BTC`.
    pub asset: SmolStr,
    /// Mood from −1 to 1 where the provider gives one.
    pub sentiment: Option<Decimal>,
    /// When we received it.
    pub ts_event: UnixNanos,
    /// When the provider says it was written.
    pub ts_exchange: Option<UnixNanos>,
    /// Whether it was made up by the built-in simulation.
    pub simulated: bool,
}

/// An event of a user's own WebSocket source.
#[derive(Clone, Debug, PartialEq)]
pub struct Custom {
    /// The source: its URL without query and user information.
    pub source: SmolStr,
    /// The symbol that the event names. An event without one counts for every symbol of the stream.
    pub symbol: Option<SmolStr>,
    /// The mapped value, as JSON text.
    pub value: String,
    /// When we received it.
    pub ts_event: UnixNanos,
    /// The time that the source's `map.ts` found.
    pub ts_exchange: Option<UnixNanos>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(bid: Option<&str>, ask: Option<&str>) -> Ticker {
        let price = |text: &str| Price::parse(text).expect("price");
        Ticker { bid: bid.map(price), ask: ask.map(price), ..Ticker::default() }
    }

    #[test]
    fn an_emptied_side_stays_empty_until_a_price_comes() {
        let mut ticker = quote(Some("100"), Some("101"));
        ticker.ask_size = Quantity::parse("2").ok();
        ticker.merge(&Ticker { no_ask: true, ..quote(None, None) });
        assert_eq!((ticker.bid, ticker.ask, ticker.ask_size), (quote(Some("100"), None).bid, None, None));
        ticker.merge(&quote(Some("99"), None));
        assert!(ticker.no_ask && ticker.ask.is_none(), "an update of the bid says nothing of the ask");
        ticker.merge(&quote(None, Some("102")));
        assert_eq!(ticker, quote(Some("99"), Some("102")));
    }
}
