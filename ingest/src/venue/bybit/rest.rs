//! Bybit's REST answers.

use bond_core::instrument::{Instrument, MarketType, QUOTES, Symbol, Venue};
use serde::Deserialize;

use super::super::{Listing, Reject, wire};

#[derive(Deserialize)]
struct InstrumentsInfo<'a> {
    #[serde(borrow)]
    result: InstrumentList<'a>,
}

#[derive(Deserialize)]
struct InstrumentList<'a> {
    #[serde(borrow)]
    list: Vec<ListedInstrument<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedInstrument<'a> {
    symbol: &'a str,
    status: &'a str,
    base_coin: &'a str,
    quote_coin: &'a str,
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
        let symbol = Symbol::new(self.base_coin, self.quote_coin, market).ok()?;
        let served = kind == market && self.status == "Trading";
        served.then(|| Listing::in_base_units(Instrument::shared(Venue::Bybit, symbol), self.symbol))
    }
}

/// The instruments of an `instruments-info` answer.
pub(super) fn listings(body: &[u8], market: MarketType) -> Result<Vec<Listing>, Reject> {
    let info: InstrumentsInfo<'_> = wire::parse_body(body)?;
    Ok(info.result.list.iter().filter_map(|instrument| instrument.listing(market)).collect())
}

/// `BTCUSDT`; linear perpetuals against USDC are `BTCPERP`. Dated futures have a `-` in their name; `BTCUSD` is inverse.
pub(super) fn spelling(name: &str, market: MarketType) -> Option<Listing> {
    let plain = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let symbol = match (market, name.strip_suffix("PERP")) {
        (MarketType::Perpetual, Some(base)) => Symbol::new(base, "USDC", market).ok()?,
        _ => Symbol::parse(name).ok().filter(|symbol| QUOTES.contains(&symbol.quote()))?.on(market),
    };
    let inverse = market == MarketType::Perpetual && symbol.quote() == "USD";
    (plain && !inverse).then(|| Listing::in_base_units(Instrument::shared(Venue::Bybit, symbol), name))
}
