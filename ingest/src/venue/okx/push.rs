//! What OKX pushes. Field names as in "Order Book Trading" and "Public Data" of the v5 WebSocket documentation, read 2026-11.

use std::borrow::Cow;

use bond_core::event::{BookUpdate, BookUpdateKind, Funding, Liquidation, MarketData, Ticker, Trade};
use serde::Deserialize;
use smol_str::SmolStr;

use super::super::listing::Unit;
use super::super::wire::{self, Best, Items, LevelText, Time};
use super::super::{Listing, Reject};

/// A push; without `data` it is the answer to a message of ours.
#[derive(Deserialize)]
pub(super) struct Push<'a, L> {
    #[serde(borrow)]
    pub(super) arg: Arg<'a>,
    pub(super) action: Option<&'a str>,
    pub(super) data: Option<L>,
}

/// A channel and what of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Arg<'a> {
    pub(super) channel: &'a str,
    pub(super) inst_id: Option<&'a str>,
    pub(super) inst_type: Option<&'a str>,
}

/// What an item of a push is about, besides what it says itself.
pub(super) struct Context<'a> {
    pub(super) listing: &'a Listing,
    pub(super) unit: Unit,
    pub(super) action: Option<&'a str>,
}

/// One thing that happened, and when, where the venue says.
pub(super) type Reading = (Time, MarketData);

/// What was found in one item: what can be read, and what of it cannot.
#[derive(Default)]
pub(super) struct Found {
    pub(super) readings: Vec<Reading>,
    pub(super) rejects: Vec<Reject>,
}

impl Found {
    fn push(&mut self, reading: Reading) {
        self.readings.push(reading);
    }
}

/// An item of a push.
pub(super) trait Item {
    /// The instrument's name where the push itself names none.
    fn inst_id(&self) -> Option<&str> {
        None
    }

    /// Reads the item into `out`; an error where nothing of it can be read.
    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject>;
}

/// Fills of one taker order at one price. `tradeId` is that of the last of `count` fills, so ids jump without a loss.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TradeItem<'a> {
    trade_id: &'a str,
    px: &'a str,
    sz: &'a str,
    side: &'a str,
    ts: &'a str,
}

impl Item for TradeItem<'_> {
    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        let trade = Trade {
            price: wire::price("px", self.px)?,
            size: context.unit.amount("sz", self.sz)?,
            side: wire::side("side", self.side)?,
            trade_id: self.trade_id.into(),
        };
        out.push((wire::time_text(self.ts), MarketData::Trade(trade)));
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TickerItem<'a> {
    last: Option<&'a str>,
    ask_px: Option<&'a str>,
    ask_sz: Option<&'a str>,
    bid_px: Option<&'a str>,
    bid_sz: Option<&'a str>,
    ts: &'a str,
}

impl Item for TickerItem<'_> {
    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        let amount = |field, text: &str| context.unit.amount(field, text);
        let bid = Best::read(("bidPx", self.bid_px), ("bidSz", self.bid_sz), amount)?;
        let ask = Best::read(("askPx", self.ask_px), ("askSz", self.ask_sz), amount)?;
        let last = wire::optional(wire::price, "last", self.last)?;
        let ticker = Ticker { last, ..wire::quote(bid, ask) };
        out.push((wire::time_text(self.ts), MarketData::Ticker(ticker)));
        Ok(())
    }
}

/// A book: whole, its best levels, or changes of it. `seqId` and `prevSeqId` came in 2023; -1 means that nothing is followed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BookItem<'a> {
    #[serde(borrow)]
    asks: Vec<LevelText<'a>>,
    #[serde(borrow)]
    bids: Vec<LevelText<'a>>,
    ts: &'a str,
    seq_id: Option<i64>,
    prev_seq_id: Option<i64>,
}

impl BookItem<'_> {
    fn update(&self, context: &Context<'_>) -> Result<BookUpdate, Reject> {
        let id = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let no_sequence = || Reject::NoSequence(context.listing.name.clone());
        let delta = context.action == Some("update");
        let prev_id = id(self.prev_seq_id).filter(|_| delta);
        if delta && prev_id.is_none() {
            return Err(no_sequence());
        }
        Ok(BookUpdate {
            kind: if delta { BookUpdateKind::Delta } else { BookUpdateKind::Snapshot },
            bids: context.unit.levels(&self.bids)?,
            asks: context.unit.levels(&self.asks)?,
            last_id: id(self.seq_id).ok_or_else(no_sequence)?,
            first_id: None,
            prev_id,
        })
    }
}

impl Item for BookItem<'_> {
    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        out.push((wire::time_text(self.ts), MarketData::Book(self.update(context)?)));
        Ok(())
    }
}

/// The best bid and ask, as `bbo-tbt` gives them: a book of one level.
#[derive(Deserialize)]
pub(super) struct BestItem<'a> {
    #[serde(borrow)]
    asks: Vec<LevelText<'a>>,
    #[serde(borrow)]
    bids: Vec<LevelText<'a>>,
    ts: &'a str,
}

impl Item for BestItem<'_> {
    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        let best = |levels: &[LevelText<'_>]| Ok(Best::of(&context.unit.levels(levels)?, true));
        let ticker = wire::quote(best(&self.bids)?, best(&self.asks)?);
        out.push((wire::time_text(self.ts), MarketData::Ticker(ticker)));
        Ok(())
    }
}

/// A mark price (`mark-price`), an index (`index-tickers`) or the open interest (`open-interest`): figures of the ticker, the
/// first two of the funding as well.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FigureItem<'a> {
    mark_px: Option<&'a str>,
    idx_px: Option<&'a str>,
    oi: Option<&'a str>,
    ts: &'a str,
}

impl Item for FigureItem<'_> {
    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        let mark = wire::optional(wire::price, "markPx", self.mark_px)?;
        let index = wire::optional(wire::price, "idxPx", self.idx_px)?;
        let amount = |field, text: &str| context.unit.amount(field, text);
        let open_interest = wire::optional(amount, "oi", self.oi)?;
        let ts = wire::time_text(self.ts);
        out.push((
            ts.clone(),
            MarketData::Ticker(Ticker { mark, index, open_interest, ..Ticker::default() }),
        ));
        if mark.is_some() || index.is_some() {
            out.push((ts, MarketData::Funding(Funding { mark, index, ..Funding::default() })));
        }
        Ok(())
    }
}

/// `fundingRate` is paid at `fundingTime`; `nextFundingTime` is that of the interval after. Either is empty where the venue has none
/// to tell: then what was told before stands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FundingItem<'a> {
    funding_rate: &'a str,
    funding_time: &'a str,
    ts: Option<&'a str>,
}

impl Item for FundingItem<'_> {
    fn read(&self, _context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        let rate = wire::optional(wire::rate, "fundingRate", Some(self.funding_rate))?;
        let next_time = Some(self.funding_time).filter(|text| !matches!(*text, "" | "0"));
        let next_time = next_time.map_or(Ok(None), wire::time_text).unwrap_or_else(|reject| {
            out.rejects.push(reject);
            None
        });
        let ts = self.ts.filter(|text| !text.is_empty()).map_or(Ok(None), wire::time_text);
        out.push((ts, MarketData::Funding(Funding { rate, next_time, ..Funding::default() })));
        Ok(())
    }
}

/// Liquidations of one instrument.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiquidationItem<'a> {
    inst_id: &'a str,
    #[serde(borrow)]
    details: Items<LiquidationDetail<'a>>,
}

/// `side` is the liquidating order's side, `bkPx` the bankruptcy price.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LiquidationDetail<'a> {
    side: &'a str,
    bk_px: &'a str,
    sz: &'a str,
    ts: &'a str,
}

impl Item for LiquidationItem<'_> {
    fn inst_id(&self) -> Option<&str> {
        Some(self.inst_id)
    }

    fn read(&self, context: &Context<'_>, out: &mut Found) -> Result<(), Reject> {
        out.rejects.extend(self.details.bad.iter().cloned());
        for detail in &self.details.good {
            match detail.read(context) {
                Ok(reading) => out.push(reading),
                Err(reject) => out.rejects.push(reject),
            }
        }
        Ok(())
    }
}

impl LiquidationDetail<'_> {
    fn read(&self, context: &Context<'_>) -> Result<Reading, Reject> {
        let liquidation = Liquidation {
            side: wire::side("side", self.side)?,
            price: wire::price("bkPx", self.bk_px)?,
            size: context.unit.amount("sz", self.sz)?,
        };
        Ok((wire::time_text(self.ts), MarketData::Liquidation(liquidation)))
    }
}

/// An answer to a message of ours, or a notice.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    /// That of the message that is answered.
    pub(super) id: Option<&'a str>,
    pub(super) event: &'a str,
    #[serde(borrow)]
    pub(super) arg: Option<Arg<'a>>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) msg: Option<Cow<'a, str>>,
}

impl Answer<'_> {
    /// The venue's code and words.
    pub(super) fn reason(&self) -> String {
        format!("{}: {}", self.code.as_deref().unwrap_or("no code"), self.msg.as_deref().unwrap_or_default())
    }
}

/// The ledger's name of a channel and what of it.
pub(super) fn topic(arg: &Arg<'_>) -> SmolStr {
    smol_str::format_smolstr!("{}:{}", arg.channel, arg.inst_id.or(arg.inst_type).unwrap_or_default())
}
