//! What Binance pushes. Field names as in "Websocket Market Streams" of the spot and the USD-M futures documentation, read 2026-11.

use std::borrow::Cow;

use bond_core::event::{
    BookUpdate, BookUpdateKind, Funding, Level, Liquidation, MarketData, Side, Ticker, Trade,
};
use bond_core::instrument::MarketType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::listing::{Listing, Unit};
use super::super::wire::{self, Best, LevelText, Time};
use super::super::{Decoded, NoTrade, Reject};

/// What kind of push a frame is: by its stream's name where it is wrapped, else by its event type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Trade,
    AggregateTrade,
    BookTicker,
    MiniTicker,
    Depth,
    PartialDepth,
    MarkPrice,
    ForceOrder,
    ServerShutdown,
}

impl Kind {
    /// The kind of `btcusdt@depth20@100ms`; `None` for streams that Bond does not take.
    pub(super) fn of_stream(stream: &str) -> Option<Self> {
        if stream == "!serverShutdown" {
            return Some(Self::ServerShutdown);
        }
        match stream.split('@').nth(1)? {
            "trade" => Some(Self::Trade),
            "aggTrade" => Some(Self::AggregateTrade),
            "bookTicker" => Some(Self::BookTicker),
            "miniTicker" => Some(Self::MiniTicker),
            "depth" => Some(Self::Depth),
            "depth5" | "depth10" | "depth20" => Some(Self::PartialDepth),
            "markPrice" => Some(Self::MarkPrice),
            "forceOrder" => Some(Self::ForceOrder),
            _ => None,
        }
    }

    /// The kind of an unwrapped push with this `e`.
    pub(super) fn of_event(event: &str) -> Option<Self> {
        match event {
            "trade" => Some(Self::Trade),
            "aggTrade" => Some(Self::AggregateTrade),
            "bookTicker" => Some(Self::BookTicker),
            "24hrMiniTicker" => Some(Self::MiniTicker),
            "depthUpdate" => Some(Self::Depth),
            "markPriceUpdate" => Some(Self::MarkPrice),
            "forceOrder" => Some(Self::ForceOrder),
            "serverShutdown" => Some(Self::ServerShutdown),
            _ => None,
        }
    }
}

/// What is seen of the combined endpoint's wrapper before anything is parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) stream: &'a str,
    /// What is wrapped, where the wrapper is spelled as Binance spells it: the wrapper is then valid if this is.
    pub(super) data: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// The wrapper of `frame`; `None` where it has none.
    pub(super) fn of(frame: &'a str) -> Option<Self> {
        Self::usual(frame).or_else(|| Some(Self { stream: wire::peek(frame, "\"stream\"")?, data: None }))
    }

    /// `{"stream":"btcusdt@trade","data":…}`, exactly so.
    fn usual(frame: &'a str) -> Option<Self> {
        let rest = frame.strip_prefix("{\"stream\":\"")?;
        let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?;
        let data = rest[end..].strip_prefix("\",\"data\":")?.strip_suffix('}')?;
        Some(Self { stream: &rest[..end], data: Some(data) })
    }
}

/// A push of the combined endpoint.
#[derive(Deserialize)]
pub(super) struct Wrapped<'a, T> {
    pub(super) stream: &'a str,
    pub(super) data: T,
}

/// What a push says: of whom, when, and what.
pub(super) struct Reading<'a> {
    pub(super) symbol: Cow<'a, str>,
    pub(super) time: Time,
    pub(super) data: MarketData,
    /// What it is where it came as a trade and is none.
    pub(super) no_trade: Option<NoTrade>,
    /// A part of it that could not be read.
    pub(super) doubt: Option<Reject>,
}

impl<'a> Reading<'a> {
    fn new(symbol: impl Into<Cow<'a, str>>, time: Option<i64>, data: MarketData) -> Self {
        let time = time.map_or(Ok(None), wire::time);
        Self { symbol: symbol.into(), time, data, no_trade: None, doubt: None }
    }
}

/// A push whose fields can be read on their own.
pub(super) trait Push<'a> {
    fn read(self) -> Result<Reading<'a>, Reject>;
}

/// A trade, or on USD-M a print that is none: `X` says what it is.
#[derive(Deserialize)]
pub(super) struct TradePush<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "X")]
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

impl<'a> Push<'a> for TradePush<'a> {
    fn read(self) -> Result<Reading<'a>, Reject> {
        let trade = trade(self.t, self.p, self.q, self.m)?;
        let no_trade = self.kind.as_deref().and_then(no_trade);
        Ok(Reading { no_trade, ..Reading::new(self.s, Some(self.time), trade) })
    }
}

/// What a print is that is not of the kind `MARKET`, as seen on `trade` of USD-M in 2025 (`X` is not documented).
fn no_trade(kind: &str) -> Option<NoTrade> {
    match kind {
        "MARKET" => None,
        "INSURANCE_FUND" => Some(NoTrade::InsuranceFund),
        "ADL" => Some(NoTrade::AutoDeleveraging),
        _ => Some(NoTrade::Unnamed),
    }
}

/// A print that is no trade, with the number that it takes of the trades'.
pub(super) fn print(listing: &Listing, kind: NoTrade, data: &MarketData) -> Decoded {
    let number = match data {
        MarketData::Trade(trade) => trade.trade_id.parse().ok(),
        _ => None,
    };
    Decoded::Print { instrument: std::sync::Arc::clone(&listing.instrument), kind, number }
}

/// Fills of one taker order at one price within 100 ms, under one id. USD-M has no other documented trade stream.
#[derive(Deserialize)]
pub(super) struct AggregateTradePush<'a> {
    s: &'a str,
    a: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    time: i64,
    m: bool,
}

impl<'a> Push<'a> for AggregateTradePush<'a> {
    fn read(self) -> Result<Reading<'a>, Reject> {
        let trade = trade(self.a, self.p, self.q, self.m)?;
        Ok(Reading::new(self.s, Some(self.time), trade))
    }
}

/// `buyer_is_maker` means that the taker sold.
fn trade(id: u64, price: &str, size: &str, buyer_is_maker: bool) -> Result<MarketData, Reject> {
    Ok(MarketData::Trade(Trade {
        price: wire::price("p", price)?,
        size: wire::quantity("q", size)?,
        side: if buyer_is_maker { Side::Sell } else { Side::Buy },
        trade_id: itoa::Buffer::new().format(id).into(),
    }))
}

/// Best bid and ask. On spot it carries neither a time nor an event type.
#[derive(Deserialize)]
pub(super) struct BookTickerPush<'a> {
    pub(super) u: u64,
    pub(super) s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_size: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_size: &'a str,
    #[serde(rename = "T")]
    time: Option<i64>,
}

impl<'a> Push<'a> for BookTickerPush<'a> {
    fn read(self) -> Result<Reading<'a>, Reject> {
        let bid = Best::read(("b", Some(self.b)), ("B", Some(self.bid_size)), wire::quantity)?;
        let ask = Best::read(("a", Some(self.a)), ("A", Some(self.ask_size)), wire::quantity)?;
        Ok(Reading::new(self.s, self.time, MarketData::Ticker(wire::quote(bid, ask))))
    }
}

#[derive(Deserialize)]
pub(super) struct MiniTickerPush<'a> {
    s: &'a str,
    #[serde(rename = "E")]
    time: i64,
    c: &'a str,
}

impl<'a> Push<'a> for MiniTickerPush<'a> {
    fn read(self) -> Result<Reading<'a>, Reject> {
        let ticker = Ticker { last: Some(wire::price("c", self.c)?), ..Ticker::default() };
        Ok(Reading::new(self.s, Some(self.time), MarketData::Ticker(ticker)))
    }
}

#[derive(Deserialize)]
pub(super) struct DepthPush<'a> {
    s: &'a str,
    #[serde(rename = "E")]
    event_time: i64,
    #[serde(rename = "T")]
    transaction_time: Option<i64>,
    #[serde(rename = "U")]
    first_id: u64,
    #[serde(rename = "u")]
    last_id: u64,
    pu: Option<u64>,
    #[serde(borrow)]
    b: Vec<LevelText<'a>>,
    #[serde(borrow)]
    a: Vec<LevelText<'a>>,
}

impl DepthPush<'_> {
    fn update(&self, kind: BookUpdateKind) -> Result<BookUpdate, Reject> {
        let delta = kind == BookUpdateKind::Delta;
        Ok(BookUpdate {
            kind,
            bids: Unit::BASE.levels(&self.b)?,
            asks: Unit::BASE.levels(&self.a)?,
            last_id: self.last_id,
            first_id: Some(self.first_id).filter(|_| delta),
            prev_id: self.pu.filter(|_| delta),
        })
    }

    fn time(&self) -> Option<i64> {
        Some(self.transaction_time.unwrap_or(self.event_time))
    }
}

impl<'a> DepthPush<'a> {
    /// Reads it as a change of the book. On USD-M it must name the event before it.
    pub(super) fn read_on(self, market: MarketType) -> Result<Reading<'a>, Reject> {
        if market == MarketType::Perpetual && self.pu.is_none() {
            return Err(Reject::NoSequence(self.s.chars().take(40).collect()));
        }
        let update = self.update(BookUpdateKind::Delta)?;
        Ok(Reading::new(self.s, self.time(), MarketData::Book(update)))
    }
}

/// The best 5, 10 or 20 levels, whole. USD-M says whose they are; spot leaves that to the stream's name.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum PartialDepthPush<'a> {
    Futures(#[serde(borrow)] DepthPush<'a>),
    Spot(#[serde(borrow)] BookAnswer<'a>),
}

impl<'a> PartialDepthPush<'a> {
    /// Reads it as the book of the instrument that `stream` begins with.
    pub(super) fn read(self, stream: &'a str) -> Result<Reading<'a>, Reject> {
        let (time, book) = match self {
            Self::Futures(push) => (push.time(), push.update(BookUpdateKind::Snapshot)?),
            Self::Spot(answer) => (None, answer.snapshot()?),
        };
        let symbol = stream.split('@').next().unwrap_or(stream).to_uppercase();
        Ok(Reading::new(symbol, time, MarketData::Book(book)))
    }
}

/// The book as REST and spot's partial depth streams give it.
#[derive(Deserialize)]
pub(super) struct BookAnswer<'a> {
    #[serde(rename = "lastUpdateId")]
    last_update_id: u64,
    #[serde(borrow)]
    bids: Vec<LevelText<'a>>,
    #[serde(borrow)]
    asks: Vec<LevelText<'a>>,
}

impl BookAnswer<'_> {
    pub(super) fn snapshot(&self) -> Result<BookUpdate, Reject> {
        let levels = |side: &[LevelText<'_>]| -> Result<Vec<Level>, Reject> { Unit::BASE.levels(side) };
        Ok(BookUpdate {
            kind: BookUpdateKind::Snapshot,
            bids: levels(&self.bids)?,
            asks: levels(&self.asks)?,
            last_id: self.last_update_id,
            first_id: None,
            prev_id: None,
        })
    }
}

/// Mark and index price, and the funding rate with the time of the next payment (0 where there is none).
#[derive(Deserialize)]
pub(super) struct MarkPricePush<'a> {
    s: &'a str,
    #[serde(rename = "E")]
    time: i64,
    p: &'a str,
    i: Option<&'a str>,
    r: Option<&'a str>,
    #[serde(rename = "T")]
    next_time: Option<i64>,
}

impl<'a> Push<'a> for MarkPricePush<'a> {
    fn read(self) -> Result<Reading<'a>, Reject> {
        let (mark, index) = (Some(wire::price("p", self.p)?), wire::optional(wire::price, "i", self.i)?);
        let rate = wire::optional(wire::rate, "r", self.r)?;
        let next_time = self.next_time.filter(|time| *time > 0).map_or(Ok(None), wire::time);
        let doubt = next_time.as_ref().err().cloned();
        let funding = Funding { rate, next_time: next_time.unwrap_or_default(), mark, index };
        Ok(Reading { doubt, ..Reading::new(self.s, Some(self.time), MarketData::Funding(funding)) })
    }
}

/// The mark and the index that come with a funding are figures of the ticker too.
pub(super) fn ticker_of(data: &MarketData) -> Option<Ticker> {
    let MarketData::Funding(Funding { mark, index, .. }) = *data else { return None };
    Some(Ticker { mark, index, ..Ticker::default() })
}

#[derive(Deserialize)]
pub(super) struct ForceOrderPush<'a> {
    #[serde(borrow)]
    o: ForcedOrder<'a>,
}

#[derive(Deserialize)]
struct ForcedOrder<'a> {
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    p: &'a str,
    ap: &'a str,
    q: &'a str,
    z: Option<&'a str>,
    #[serde(rename = "T")]
    time: i64,
}

impl<'a> Push<'a> for ForceOrderPush<'a> {
    /// `S` is the liquidating order's side. Price and amount are what was filled, and what was ordered where nothing was yet.
    fn read(self) -> Result<Reading<'a>, Reject> {
        let order = self.o;
        let average = wire::price("ap", order.ap)?;
        let filled = wire::optional(wire::quantity, "z", order.z)?.filter(|size| !size.is_zero());
        let liquidation = Liquidation {
            side: wire::side("S", order.side)?,
            price: if average.is_zero() { wire::price("p", order.p)? } else { average },
            size: filled.map_or_else(|| wire::quantity("q", order.q), Ok)?,
        };
        Ok(Reading::new(order.s, Some(order.time), MarketData::Liquidation(liquidation)))
    }
}

/// An answer to a message of ours, or an unwrapped push without an event type.
#[derive(Deserialize)]
pub(super) struct Other<'a> {
    pub(super) id: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) result: Option<IgnoredAny>,
    #[serde(borrow)]
    pub(super) error: Option<Complaint<'a>>,
    code: Option<i64>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
    #[serde(rename = "lastUpdateId")]
    pub(super) last_update_id: Option<u64>,
    pub(super) u: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Complaint<'a> {
    code: i64,
    #[serde(borrow)]
    msg: Cow<'a, str>,
}

/// Tells `"result":null` from no `result`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IgnoredAny>, D::Error> {
    IgnoredAny::deserialize(deserializer).map(Some)
}

impl Other<'_> {
    /// The venue's complaint, in either of its two forms.
    pub(super) fn complaint(&self) -> Option<String> {
        match (&self.error, self.code, &self.msg) {
            (Some(error), ..) => Some(format!("{}: {}", error.code, error.msg)),
            (None, Some(code), Some(msg)) => Some(format!("{code}: {msg}")),
            _ => None,
        }
    }
}
