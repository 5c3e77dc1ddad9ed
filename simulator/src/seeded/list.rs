//! Instrument lists, for the seeded market and for captures alike.

use serde_json::{Value, json};

use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::market::Spec;
use crate::rest::{Answer, Request};

/// One instrument as a venue lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) symbol: String,
    pub(crate) base: String,
    pub(crate) quote: String,
    pub(crate) tick: String,
    pub(crate) lot: String,
    /// Coins in a contract.
    pub(crate) contract: String,
}

impl Listing {
    pub(crate) fn of(spec: &Spec) -> Self {
        Self {
            symbol: spec.symbol.clone(),
            base: spec.base().to_owned(),
            quote: "USDT".to_owned(),
            tick: spec.tick().to_string(),
            lot: spec.lot().to_string(),
            contract: spec.contract.to_string(),
        }
    }
}

/// Binance's answer to `exchangeInfo`, for all symbols or those asked for; one that it does not list is an error.
pub(crate) fn binance_info(
    market: Market,
    listings: Vec<Listing>,
    request: &Request,
    now: UnixNanos,
) -> Answer {
    let wanted: Vec<String> = match (request.get("symbol"), request.get("symbols")) {
        (Some(symbol), _) => vec![symbol.to_owned()],
        (None, Some(symbols)) => serde_json::from_str(symbols).unwrap_or_default(),
        (None, None) => return Answer::json(200, binance_body(market, &listings, now)),
    };
    let listed: Vec<Listing> =
        listings.into_iter().filter(|listing| wanted.contains(&listing.symbol)).collect();
    if listed.is_empty() || listed.len() < wanted.len() {
        return Answer::json(400, json!({"code": -1121, "msg": "Invalid symbol."}));
    }
    Answer::json(200, binance_body(market, &listed, now))
}

fn binance_body(market: Market, listings: &[Listing], now: UnixNanos) -> Value {
    let symbols: Vec<Value> = listings.iter().map(|listing| binance_symbol(market, listing)).collect();
    json!({
        "timezone": "UTC",
        "serverTime": now / MILLI,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}],
        "exchangeFilters": [],
        "symbols": symbols,
        "simulated": "bond-sim",
    })
}

fn binance_symbol(market: Market, listing: &Listing) -> Value {
    let mut symbol = json!({
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": listing.tick, "maxPrice": "1000000.00", "tickSize": listing.tick},
            {"filterType": "LOT_SIZE", "minQty": listing.lot, "maxQty": "9000.00000000", "stepSize": listing.lot},
        ],
    });
    let more = match market {
        Market::Spot => {
            json!({"quoteAssetPrecision": 8, "isSpotTradingAllowed": true, "permissions": ["SPOT"]})
        }
        Market::Perpetual => json!({
            "pair": listing.symbol,
            "contractType": "PERPETUAL",
            "marginAsset": listing.quote,
            "deliveryDate": 4_133_404_800_000_u64,
            "onboardDate": 1_569_398_400_000_u64,
        }),
    };
    if let (Value::Object(symbol), Value::Object(more)) = (&mut symbol, more) {
        symbol.extend(more);
    }
    symbol
}

/// OKX's answer to `instruments`: spot pairs, or swaps with the coins in a contract.
pub(crate) fn okx_info(listings: Vec<Listing>, request: &Request) -> Answer {
    let Some(kind) = request.get("instType") else {
        return okx_error("51014", "Parameter instType can not be empty");
    };
    let wanted = |listing: &Listing| {
        okx_kind(&listing.symbol) == kind && request.get("instId").is_none_or(|name| name == listing.symbol)
    };
    let data: Vec<Value> =
        listings.into_iter().filter(wanted).map(|listing| okx_instrument(kind, &listing)).collect();
    if data.is_empty() && request.get("instId").is_some() {
        return okx_error("51001", "Instrument ID or Spread ID doesn't exist.");
    }
    Answer::json(200, json!({"code": "0", "msg": "", "data": data, "simulated": "bond-sim"}))
}

/// An error as OKX answers it: HTTP 200, the code inside.
pub(crate) fn okx_error(code: &str, message: &str) -> Answer {
    Answer::json(200, json!({"code": code, "msg": message, "data": []}))
}

/// `instType` by the form of a name: `BTC-USDT`, `BTC-USDT-SWAP`, `BTC-USD-220527`.
fn okx_kind(symbol: &str) -> &'static str {
    match symbol.split('-').nth(2) {
        None => "SPOT",
        Some("SWAP") => "SWAP",
        Some(_) => "FUTURES",
    }
}

fn okx_instrument(kind: &str, listing: &Listing) -> Value {
    let pair = format!("{}-{}", listing.base, listing.quote);
    let spot = kind == "SPOT";
    let only_spot = |text: &str| if spot { text.to_owned() } else { String::new() };
    let only_derivative = |text: &str| if spot { String::new() } else { text.to_owned() };
    json!({
        "instType": kind, "instId": listing.symbol, "state": "live",
        "baseCcy": only_spot(&listing.base), "quoteCcy": only_spot(&listing.quote),
        "uly": only_derivative(&pair), "instFamily": only_derivative(&pair),
        "settleCcy": only_derivative(&listing.quote),
        "ctVal": only_derivative(&listing.contract), "ctMult": only_derivative("1"),
        "ctValCcy": only_derivative(&listing.base), "ctType": only_derivative("linear"),
        "tickSz": listing.tick, "lotSz": listing.lot, "minSz": listing.lot,
    })
}

/// Bybit's answer to `instruments-info`.
pub(crate) fn bybit_info(market: Market, listings: &[Listing], request: &Request, now: UnixNanos) -> Answer {
    let category = bybit_category(market);
    if request.get("category") != Some(category) {
        return bybit_answer(
            10001,
            "params error: category is invalid or not simulated here",
            json!({}),
            now,
        );
    }
    let wanted = |listing: &Listing| request.get("symbol").is_none_or(|name| name == listing.symbol);
    let (Some(limit), Some(start)) = (request.number("limit", 500), bybit_start(request)) else {
        return bybit_answer(10001, "params error: limit or cursor is invalid", json!({}), now);
    };
    let listed: Vec<&Listing> = listings.iter().filter(|l| wanted(l)).collect();
    let end = listed.len().min(start.saturating_add(limit.clamp(1, BYBIT_PAGE)));
    let page = listed.get(start..end).unwrap_or_default();
    let list: Vec<Value> = page.iter().map(|l| bybit_instrument(market, l)).collect();
    let cursor = if end < listed.len() { format!("first%3D{end}&") } else { String::new() };
    let result =
        json!({"category": category, "list": list, "nextPageCursor": cursor, "simulated": "bond-sim"});
    bybit_answer(0, "OK", result, now)
}

/// Instruments on one page at most.
const BYBIT_PAGE: usize = 1_000;

/// Where the page begins that `cursor` names; it has to come back as it was given.
fn bybit_start(request: &Request) -> Option<usize> {
    let Some(cursor) = request.get("cursor") else { return Some(0) };
    cursor.strip_prefix("first%3D")?.strip_suffix('&')?.parse().ok()
}

pub(crate) fn bybit_category(market: Market) -> &'static str {
    if market == Market::Spot { "spot" } else { "linear" }
}

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
pub(crate) fn bybit_answer(code: u32, message: &str, result: Value, now: UnixNanos) -> Answer {
    let body =
        json!({"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": now / MILLI});
    Answer::json(200, body)
}

fn bybit_instrument(market: Market, listing: &Listing) -> Value {
    let lots = match market {
        Market::Spot => json!({"basePrecision": listing.lot, "minOrderQty": listing.lot}),
        Market::Perpetual => json!({"qtyStep": listing.lot, "minOrderQty": listing.lot}),
    };
    let mut instrument = json!({
        "symbol": listing.symbol, "baseCoin": listing.base, "quoteCoin": listing.quote, "status": "Trading",
        "priceFilter": {"tickSize": listing.tick}, "lotSizeFilter": lots,
    });
    if market == Market::Perpetual {
        instrument["contractType"] = json!("LinearPerpetual");
        instrument["settleCoin"] = json!(listing.quote);
        instrument["fundingInterval"] = json!(480);
    }
    instrument
}
