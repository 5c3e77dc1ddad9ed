//! Binance's REST answers.

use bond_core::instrument::{Instrument, MarketType, QUOTES, Symbol, Venue};
use serde::Deserialize;

use super::super::{Listing, Reject, wire};

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    #[serde(borrow)]
    symbols: Vec<ListedSymbol<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSymbol<'a> {
    symbol: &'a str,
    status: &'a str,
    base_asset: &'a str,
    quote_asset: &'a str,
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
        let symbol = Symbol::new(self.base_asset, self.quote_asset, market).ok()?;
        let served = kind == market && self.status == "TRADING";
        served.then(|| Listing::in_base_units(Instrument::shared(Venue::Binance, symbol), self.symbol))
    }
}

/// The instruments of an `exchangeInfo` answer.
pub(super) fn listings(body: &[u8], market: MarketType) -> Result<Vec<Listing>, Reject> {
    let info: ExchangeInfo<'_> = wire::parse_body(body)?;
    Ok(info.symbols.iter().filter_map(|symbol| symbol.listing(market)).collect())
}

/// `BTCUSDT`: base and quote run together. Dated futures have a `_` in their name; USD-M settles nothing in plain USD.
pub(super) fn spelling(name: &str, market: MarketType) -> Option<Listing> {
    let plain = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let symbol = Symbol::parse(name).ok().filter(|symbol| plain && QUOTES.contains(&symbol.quote()))?;
    let inverse = market == MarketType::Perpetual && symbol.quote() == "USD";
    (!inverse).then(|| Listing::in_base_units(Instrument::shared(Venue::Binance, symbol.on(market)), name))
}
