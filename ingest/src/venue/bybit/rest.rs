//! Bybit's REST answers.

use std::borrow::Cow;

use bond_core::instrument::{Instrument, MarketType, QUOTES, Symbol, Venue};
use serde::Deserialize;

use super::super::wire::{self, Items};
use super::super::{Listing, ListingsPage, Reject};

#[derive(Deserialize)]
struct InstrumentsInfo<'a> {
    #[serde(borrow)]
    result: InstrumentList<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstrumentList<'a> {
    #[serde(borrow)]
    list: Items<ListedInstrument<'a>>,
    #[serde(borrow)]
    next_page_cursor: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedInstrument<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    status: &'a str,
    #[serde(borrow)]
    base_coin: Cow<'a, str>,
    #[serde(borrow)]
    quote_coin: Cow<'a, str>,
    /// Linear alone: perpetuals and dated futures are listed together.
    contract_type: Option<&'a str>,
}

impl ListedInstrument<'_> {
    fn listing(&self, market: MarketType) -> Option<Listing> {
        let kind = match self.contract_type {
            None => MarketType::Spot,
            Some("LinearPerpetual") => MarketType::Perpetual,
            Some(_) => return None,
        };
        let symbol = Symbol::new(&self.base_coin, &self.quote_coin, market).ok()?;
        let served = kind == market && self.status == "Trading";
        served.then(|| Listing::in_base_units(Instrument::shared(Venue::Bybit, symbol), &self.symbol))
    }
}

/// The instruments of an `instruments-info` answer.
pub(super) fn listings(body: &[u8], market: MarketType) -> Result<ListingsPage, Reject> {
    let InstrumentList { list, next_page_cursor } = wire::parse_body::<InstrumentsInfo<'_>>(body)?.result;
    let listings = list.good.iter().filter_map(|instrument| instrument.listing(market)).collect();
    let next = next_page_cursor.filter(|cursor| !cursor.is_empty()).map(Into::into);
    Ok(ListingsPage { listings, unreadable: list.bad, next })
}

/// `BTCUSDT`; linear perpetuals against USDC are `BTCPERP`. Dated futures have a `-` in their name; `BTCUSD` is inverse.
pub(super) fn spelling(name: &str, market: MarketType) -> Option<Listing> {
    let symbol = match (market, name.strip_suffix("PERP")) {
        (MarketType::Perpetual, Some(base)) => Symbol::new(base, "USDC", market).ok()?,
        _ => Symbol::parse(name).ok().filter(|symbol| QUOTES.contains(&symbol.quote()))?.on(market),
    };
    let inverse = market == MarketType::Perpetual && symbol.quote() == "USD";
    (wire::is_plain(name) && !inverse)
        .then(|| Listing::in_base_units(Instrument::shared(Venue::Bybit, symbol), name))
}
