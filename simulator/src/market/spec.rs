//! What is traded where: assets, tick and lot sizes, and how each venue writes a number.

use rust_decimal::Decimal;

use crate::config::{Market, Venue};

/// A coin of the seeded market and the price its path starts from, in USDT.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    pub(crate) price: f64,
    /// Share of the venue's events, in parts of a hundred.
    pub(crate) weight: u32,
}

pub(crate) const ASSETS: [Asset; 5] = [
    Asset { name: "BTC", price: 95_000.0, weight: 40 },
    Asset { name: "ETH", price: 3_200.0, weight: 25 },
    Asset { name: "SOL", price: 180.0, weight: 15 },
    Asset { name: "XRP", price: 2.2, weight: 10 },
    Asset { name: "DOGE", price: 0.2, weight: 10 },
];

/// Decimal places of tick and lot, in the order of [`ASSETS`].
type Scales = [(u32, u32); ASSETS.len()];

const BINANCE_SPOT: Scales = [(2, 5), (2, 4), (2, 3), (4, 1), (5, 0)];
const BINANCE_PERPETUAL: Scales = [(1, 3), (2, 3), (2, 2), (4, 1), (5, 0)];
const OKX_SPOT: Scales = [(1, 8), (2, 6), (2, 6), (4, 6), (5, 6)];
const OKX_PERPETUAL: Scales = [(1, 2), (2, 2), (2, 2), (4, 2), (5, 2)];
const BYBIT_SPOT: Scales = [(1, 6), (2, 5), (2, 4), (4, 2), (5, 1)];
const BYBIT_PERPETUAL: Scales = [(1, 3), (2, 2), (2, 1), (4, 1), (5, 0)];

/// One tradable instrument: ticks and lots are powers of ten.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) asset: usize,
    pub(crate) market: Market,
    /// The venue's own name, for example `BTCUSDT` or `BTC-USDT-SWAP`.
    pub(crate) symbol: String,
    /// The tick is 10^-price_scale USDT.
    pub(crate) price_scale: u32,
    /// The lot is 10^-size_scale coins, or contracts where `contract` is not 1.
    pub(crate) size_scale: u32,
    /// Coins in one contract.
    pub(crate) contract: Decimal,
    price_text: Style,
    size_text: Style,
}

/// How a venue writes a decimal.
#[derive(Debug, Clone, Copy)]
enum Style {
    Places(u32),
    Shortest,
}

impl Style {
    fn write(self, value: Decimal) -> Decimal {
        match self {
            Style::Shortest => value.normalize(),
            Style::Places(places) => {
                let mut value = value;
                value.rescale(places);
                value
            }
        }
    }
}

impl Spec {
    pub(crate) fn new(venue: Venue, market: Market, asset: usize) -> Self {
        let (price_scale, size_scale) = scales(venue, market)[asset];
        let (price_text, size_text) = styles(venue, market, asset, (price_scale, size_scale));
        Self {
            asset,
            market,
            symbol: symbol(venue, market, ASSETS[asset].name),
            price_scale,
            size_scale,
            contract: contract(venue, market, asset),
            price_text,
            size_text,
        }
    }

    /// Name of the coin.
    pub(crate) fn base(&self) -> &'static str {
        ASSETS[self.asset].name
    }

    /// A price as the venue writes it.
    pub(crate) fn price(&self, ticks: i64) -> Decimal {
        self.price_text.write(Decimal::new(ticks, self.price_scale))
    }

    /// A quantity as the venue writes it: coins, or contracts at OKX.
    pub(crate) fn size(&self, lots: i64) -> Decimal {
        self.size_text.write(Decimal::new(lots, self.size_scale))
    }

    /// Coins in a number of lots.
    pub(crate) fn coins(&self, lots: i64) -> Decimal {
        Decimal::new(lots, self.size_scale) * self.contract
    }

    /// The smallest step of a price.
    pub(crate) fn tick(&self) -> Decimal {
        self.price(1)
    }

    /// The smallest step of a quantity.
    pub(crate) fn lot(&self) -> Decimal {
        self.size(1)
    }
}

fn scales(venue: Venue, market: Market) -> &'static Scales {
    match (venue, market) {
        (Venue::Binance, Market::Spot) => &BINANCE_SPOT,
        (Venue::Binance, Market::Perpetual) => &BINANCE_PERPETUAL,
        (Venue::Okx, Market::Spot) => &OKX_SPOT,
        (Venue::Okx, Market::Perpetual) => &OKX_PERPETUAL,
        (Venue::Bybit, Market::Spot) => &BYBIT_SPOT,
        (Venue::Bybit, Market::Perpetual) => &BYBIT_PERPETUAL,
    }
}

/// Binance spot writes 8 places whatever the tick (live measurements, 2026); its BTC perpetual writes a tick of 0.10 with 2.
fn styles(venue: Venue, market: Market, asset: usize, scales: (u32, u32)) -> (Style, Style) {
    let two_for_bitcoin = if asset == 0 { 2 } else { scales.0 };
    match (venue, market) {
        (Venue::Binance, Market::Spot) => (Style::Places(8), Style::Places(8)),
        (Venue::Okx, _) => (Style::Shortest, Style::Shortest),
        (Venue::Bybit, Market::Spot) => (Style::Places(scales.0), Style::Shortest),
        (_, Market::Perpetual) => (Style::Places(two_for_bitcoin), Style::Places(scales.1)),
    }
}

fn symbol(venue: Venue, market: Market, base: &str) -> String {
    match (venue, market) {
        (Venue::Okx, Market::Spot) => format!("{base}-USDT"),
        (Venue::Okx, Market::Perpetual) => format!("{base}-USDT-SWAP"),
        _ => format!("{base}USDT"),
    }
}

/// OKX counts swaps in contracts: 0.01 BTC, 0.1 ETH, 1 SOL, 100 XRP, 1000 DOGE (OKX `instruments`, 2026).
fn contract(venue: Venue, market: Market, asset: usize) -> Decimal {
    match (venue, market) {
        (Venue::Okx, Market::Perpetual) => [
            Decimal::new(1, 2),
            Decimal::new(1, 1),
            Decimal::ONE,
            Decimal::ONE_HUNDRED,
            Decimal::ONE_THOUSAND,
        ][asset],
        _ => Decimal::ONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(venue: Venue, market: Market) -> (String, String) {
        let spec = Spec::new(venue, market, 0);
        let price = Decimal::new(618_376, 1) / spec.tick();
        let lots = Decimal::new(25, 1) / spec.lot();
        let whole = |value: Decimal| i64::try_from(value).unwrap();
        (spec.price(whole(price)).to_string(), spec.size(whole(lots)).to_string())
    }

    #[test]
    fn each_venue_writes_numbers_its_own_way() {
        let pair = |price: &str, size: &str| (price.to_owned(), size.to_owned());
        assert_eq!(written(Venue::Binance, Market::Spot), pair("61837.60000000", "2.50000000"));
        assert_eq!(written(Venue::Binance, Market::Perpetual), pair("61837.60", "2.500"));
        assert_eq!(written(Venue::Okx, Market::Spot), pair("61837.6", "2.5"));
        assert_eq!(written(Venue::Bybit, Market::Perpetual), pair("61837.60", "2.500"));
    }

    #[test]
    fn a_swap_of_okx_is_counted_in_contracts() {
        let spec = Spec::new(Venue::Okx, Market::Perpetual, 0);
        assert_eq!(spec.symbol, "BTC-USDT-SWAP");
        assert_eq!(spec.coins(250), Decimal::new(25, 3));
    }
}
