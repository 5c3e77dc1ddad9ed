//! What Bybit pushes. Field names as in "WebSocket Stream / Public" of the v5 documentation, read 2026-11.

use std::borrow::Cow;

use bond_core::event::{BookUpdate, BookUpdateKind, Funding, Liquidation, MarketData, Side, Ticker, Trade};
use serde::Deserialize;

use super::super::Reject;
use super::super::listing::Unit;
use super::super::wire::{self, Best, LevelText, Time};

/// A push. The order of its fields differs between spot and linear.
#[derive(Deserialize)]
pub(super) struct Push<'a, T> {
    pub(super) topic: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: Option<&'a str>,
    /// When it was sent.
    pub(super) ts: Option<i64>,
    /// When the matching engine made it.
    pub(super) cts: Option<i64>,
    pub(super) data: T,
}

/// One thing that happened, when, and of which symbol.
pub(super) struct Reading<'a> {
    pub(super) symbol: &'a str,
    pub(super) time: Time,
    pub(super) data: MarketData,
}

/// A trade: `S` is the taker's side. Ids are UUIDs on linear and long numbers on spot.
#[derive(Deserialize)]
pub(super) struct TradeItem<'a> {
    #[serde(rename = "T")]
    time: i64,
    s: &'a str,
    #[serde(rename = "S")]
    side: &'a str,
    v: &'a str,
    p: &'a str,
    i: &'a str,
}

impl<'a> TradeItem<'a> {
    pub(super) fn read(&self) -> Result<Reading<'a>, Reject> {
        let trade = Trade {
            price: wire::price("p", self.p)?,
            size: wire::quantity("v", self.v)?,
            side: wire::side("S", self.side)?,
            trade_id: self.i.into(),
        };
        Ok(Reading { symbol: self.s, time: wire::time(self.time), data: MarketData::Trade(trade) })
    }
}

/// A liquidation: `S` is the side of the position, so the order that closes it has the other; `p` is the bankruptcy price.
#[derive(Deserialize)]
pub(super) struct LiquidationItem<'a> {
    #[serde(rename = "T")]
    time: i64,
    s: &'a str,
    #[serde(rename = "S")]
    position: &'a str,
    v: &'a str,
    p: &'a str,
}

impl<'a> LiquidationItem<'a> {
    pub(super) fn read(&self) -> Result<Reading<'a>, Reject> {
        let side = match wire::side("S", self.position)? {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
            Side::Unknown => Side::Unknown,
        };
        let (price, size) = (wire::price("p", self.p)?, wire::quantity("v", self.v)?);
        let data = MarketData::Liquidation(Liquidation { side, price, size });
        Ok(Reading { symbol: self.s, time: wire::time(self.time), data })
    }
}

/// An order book, whole or changes.
#[derive(Deserialize)]
pub(super) struct BookData<'a> {
    pub(super) s: &'a str,
    #[serde(borrow)]
    b: Vec<LevelText<'a>>,
    #[serde(borrow)]
    a: Vec<LevelText<'a>>,
    pub(super) u: u64,
}

impl BookData<'_> {
    /// `u` 1 is a snapshot whatever the type says: the venue's service restarted.
    pub(super) fn update(&self, kind: Option<&str>) -> Result<BookUpdate, Reject> {
        let kind = match kind {
            Some("snapshot") => BookUpdateKind::Snapshot,
            _ if self.u == 1 => BookUpdateKind::Snapshot,
            Some("delta") => BookUpdateKind::Delta,
            _ => return Err(Reject::Malformed("a book that is neither snapshot nor delta".to_owned())),
        };
        let (bids, asks) = (Unit::BASE.levels(&self.b)?, Unit::BASE.levels(&self.a)?);
        Ok(BookUpdate { kind, bids, asks, last_id: self.u, first_id: None, prev_id: None })
    }

    /// A book of one level, as a ticker.
    pub(super) fn best(&self, is_whole: bool) -> Result<Ticker, Reject> {
        let (bids, asks) = (Unit::BASE.levels(&self.b)?, Unit::BASE.levels(&self.a)?);
        Ok(wire::quote(Best::of(&bids, is_whole), Best::of(&asks, is_whole)))
    }
}

/// Figures of a ticker. On linear an absent one has not changed; spot has the last price alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TickerData<'a> {
    pub(super) symbol: &'a str,
    last_price: Option<&'a str>,
    bid1_price: Option<&'a str>,
    bid1_size: Option<&'a str>,
    ask1_price: Option<&'a str>,
    ask1_size: Option<&'a str>,
    mark_price: Option<&'a str>,
    index_price: Option<&'a str>,
    open_interest: Option<&'a str>,
    funding_rate: Option<&'a str>,
    next_funding_time: Option<&'a str>,
}

impl TickerData<'_> {
    pub(super) fn ticker(&self) -> Result<Ticker, Reject> {
        let (bid, bid_size) = (("bid1Price", self.bid1_price), ("bid1Size", self.bid1_size));
        let (ask, ask_size) = (("ask1Price", self.ask1_price), ("ask1Size", self.ask1_size));
        let (bid, ask) =
            (Best::read(bid, bid_size, wire::quantity)?, Best::read(ask, ask_size, wire::quantity)?);
        Ok(Ticker {
            last: wire::optional(wire::price, "lastPrice", self.last_price)?,
            mark: wire::optional(wire::price, "markPrice", self.mark_price)?,
            index: wire::optional(wire::price, "indexPrice", self.index_price)?,
            open_interest: wire::optional(wire::quantity, "openInterest", self.open_interest)?,
            ..wire::quote(bid, ask)
        })
    }

    /// The funding, and what of it is no time. Where there is none yet, the time is empty or 0.
    pub(super) fn funding(&self) -> Result<(Funding, Option<Reject>), Reject> {
        let next_time = self.next_funding_time.filter(|text| !matches!(*text, "" | "0"));
        let next_time = next_time.map_or(Ok(None), wire::time_text);
        let doubt = next_time.as_ref().err().cloned();
        let funding = Funding {
            rate: wire::optional(wire::rate, "fundingRate", self.funding_rate)?,
            next_time: next_time.unwrap_or_default(),
            mark: wire::optional(wire::price, "markPrice", self.mark_price)?,
            index: wire::optional(wire::price, "indexPrice", self.index_price)?,
        };
        Ok((funding, doubt))
    }
}

/// An answer to a message of ours.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    pub(super) success: Option<bool>,
    #[serde(borrow)]
    pub(super) ret_msg: Option<Cow<'a, str>>,
    pub(super) req_id: Option<&'a str>,
    pub(super) op: Option<&'a str>,
}
