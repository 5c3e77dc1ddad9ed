//! Binance's REST answers.

use std::borrow::Cow;

use bond_core::instrument::{Instrument, MarketType, QUOTES, Symbol, Venue};
use serde::Deserialize;

use super::super::wire::{self, Items};
use super::super::{Listing, ListingsPage, Reject};

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    #[serde(borrow)]
    symbols: Items<ListedSymbol<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSymbol<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    status: &'a str,
    #[serde(borrow)]
    base_asset: Cow<'a, str>,
    #[serde(borrow)]
    quote_asset: Cow<'a, str>,
    /// USD-M alone; tokenised stocks and metals are perpetuals of a type of their own.
    contract_type: Option<&'a str>,
}

impl ListedSymbol<'_> {
    fn listing(&self, market: MarketType) -> Option<Listing> {
        let kind = match self.contract_type {
            None => MarketType::Spot,
            Some("PERPETUAL" | "TRADIFI_PERPETUAL") => MarketType::Perpetual,
            Some(_) => return None,
        };
        let symbol = Symbol::new(&self.base_asset, &self.quote_asset, market).ok()?;
        let served = kind == market && self.status == "TRADING";
        served.then(|| Listing::in_base_units(Instrument::shared(Venue::Binance, symbol), &self.symbol))
    }
}

/// The instruments of an `exchangeInfo` answer.
pub(super) fn listings(body: &[u8], market: MarketType) -> Result<ListingsPage, Reject> {
    let Items { good, bad } = wire::parse_body::<ExchangeInfo<'_>>(body)?.symbols;
    let listings = good.iter().filter_map(|symbol| symbol.listing(market)).collect();
    Ok(ListingsPage { listings, unreadable: bad, next: None })
}

/// `BTCUSDT`: base and quote run together. Dated futures have a `_` in their name; USD-M settles nothing in plain USD.
pub(super) fn spelling(name: &str, market: MarketType) -> Option<Listing> {
    let symbol =
        Symbol::parse(name).ok().filter(|symbol| wire::is_plain(name) && QUOTES.contains(&symbol.quote()))?;
    let inverse = market == MarketType::Perpetual && symbol.quote() == "USD";
    (!inverse).then(|| Listing::in_base_units(Instrument::shared(Venue::Binance, symbol.on(market)), name))
}
