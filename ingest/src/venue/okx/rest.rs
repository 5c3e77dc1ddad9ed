//! OKX's REST answers.

use std::borrow::Cow;

use bond_core::decimal::parse_decimal;
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::super::wire::{self, Items};
use super::super::{Listing, ListingsPage, Reject};

#[derive(Deserialize)]
struct Instruments<'a> {
    #[serde(borrow)]
    data: Items<ListedInstrument<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedInstrument<'a> {
    #[serde(borrow)]
    inst_id: Cow<'a, str>,
    inst_type: &'a str,
    state: &'a str,
    ct_type: Option<&'a str>,
    ct_val: Option<&'a str>,
    ct_mult: Option<&'a str>,
    #[serde(borrow)]
    ct_val_ccy: Option<Cow<'a, str>>,
}

impl ListedInstrument<'_> {
    fn listing(&self) -> Option<Listing> {
        let mut listing = spelling(&self.inst_id, MarketType::Spot).filter(|_| self.state == "live")?;
        match (self.inst_type, listing.instrument.symbol.market()) {
            ("SPOT", MarketType::Spot) => Some(listing),
            ("SWAP", MarketType::Perpetual) if self.ct_type == Some("linear") => {
                listing.contract_size = self.contract_size(listing.instrument.symbol.base());
                Some(listing)
            }
            _ => None,
        }
    }

    /// A contract is worth `ctVal` times `ctMult` of `ctValCcy`, which must be the base currency.
    fn contract_size(&self, base: &str) -> Option<Decimal> {
        let value = parse_decimal(self.ct_val?).ok()?;
        let factor = self
            .ct_mult
            .filter(|text| !text.is_empty())
            .map_or(Some(Decimal::ONE), |text| parse_decimal(text).ok())?;
        let size = value.checked_mul(factor)?.normalize();
        let in_base = self.ct_val_ccy.as_deref().is_none_or(|currency| currency.eq_ignore_ascii_case(base));
        (in_base && size > Decimal::ZERO).then_some(size)
    }
}

/// The instruments of a `public/instruments` answer.
pub(super) fn listings(body: &[u8]) -> Result<ListingsPage, Reject> {
    let Items { good, bad } = wire::parse_body::<Instruments<'_>>(body)?.data;
    let listings = good.iter().filter_map(ListedInstrument::listing).collect();
    Ok(ListingsPage { listings, unreadable: bad, next: None })
}

/// `BTC-USDT` or `BTC-USDT-SWAP`: the name tells the market. Dated futures and options have another tail; a swap against plain USD
/// is inverse. What a swap's contract is worth is not in its name.
pub(super) fn spelling(name: &str, _market: MarketType) -> Option<Listing> {
    let mut parts = name.split('-');
    let (base, quote, tail) = (parts.next()?, parts.next()?, parts.next());
    let market = match (tail, parts.next()) {
        (None, None) => MarketType::Spot,
        (Some("SWAP"), None) if quote != "USD" => MarketType::Perpetual,
        _ => return None,
    };
    let symbol = Symbol::new(base, quote, market).ok()?;
    let contract_size = (market == MarketType::Spot).then_some(Decimal::ONE);
    Some(Listing { instrument: Instrument::shared(Venue::Okx, symbol), name: name.into(), contract_size })
}
