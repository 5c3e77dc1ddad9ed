//! Frames of Binance, apart from depth.

use serde_json::json;

use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::market::{Instrument, Liquidation, Side, Spec, Trade};

pub(super) fn spot_trade(spec: &Spec, trade: &Trade) -> String {
    let ms = trade.at / MILLI;
    format!(
        "{{\"e\":\"trade\",\"E\":{ms},\"s\":\"{}\",\"t\":{},\"p\":\"{}\",\"q\":\"{}\",\"T\":{ms},\"m\":{},\"M\":true}}",
        spec.symbol,
        trade.id,
        spec.price(trade.ticks),
        spec.size(trade.lots),
        trade.taker == Side::Ask,
    )
}

pub(super) fn agg_trade(market: Market, spec: &Spec, trade: &Trade) -> String {
    let (ms, id) = (trade.at / MILLI, trade.id);
    let more = if market == Market::Spot { ",\"M\":true" } else { "" };
    format!(
        "{{\"e\":\"aggTrade\",\"E\":{ms},\"s\":\"{}\",\"a\":{id},\"p\":\"{}\",\"q\":\"{}\",\"f\":{id},\"l\":{id},\"T\":{ms},\"m\":{}{more}}}",
        spec.symbol,
        spec.price(trade.ticks),
        spec.size(trade.lots),
        trade.taker == Side::Ask,
    )
}

pub(super) fn force_order(spec: &Spec, liquidation: &Liquidation) -> String {
    let ms = liquidation.at / MILLI;
    let (price, size) = (spec.price(liquidation.ticks), spec.size(liquidation.lots));
    let side = if liquidation.order == Side::Bid { "BUY" } else { "SELL" };
    format!(
        "{{\"e\":\"forceOrder\",\"E\":{ms},\"o\":{{\"s\":\"{}\",\"S\":\"{side}\",\"o\":\"LIMIT\",\"f\":\"IOC\",\"q\":\"{size}\",\"p\":\"{price}\",\"ap\":\"{price}\",\"X\":\"FILLED\",\"l\":\"{size}\",\"z\":\"{size}\",\"T\":{ms}}}}}",
        spec.symbol,
    )
}

pub(super) fn mark_price(instrument: &mut Instrument, at: UnixNanos) -> String {
    let (mark, index) = (instrument.fair.mark(at), instrument.fair.index(at));
    let (next, rate) = instrument.fair.funding(at);
    let spec = &instrument.spec;
    let (mark, index) = (spec.price(mark), spec.price(index));
    format!(
        "{{\"e\":\"markPriceUpdate\",\"E\":{},\"s\":\"{}\",\"p\":\"{mark}\",\"i\":\"{index}\",\"P\":\"{mark}\",\"r\":\"{rate}\",\"T\":{next}}}",
        at / MILLI,
        spec.symbol,
    )
}

pub(super) fn ticker(instrument: &Instrument, open: i64, at: UnixNanos) -> String {
    let (spec, totals, last) = (&instrument.spec, &instrument.totals, &instrument.last);
    let (bid, ask) = instrument.touch();
    let ms = at / MILLI;
    let text = json!({
        "e": "24hrTicker", "E": ms, "s": spec.symbol,
        "p": spec.price(last.ticks - open).to_string(),
        "P": percent(last.ticks, open),
        "x": spec.price(open).to_string(),
        "c": spec.price(last.ticks).to_string(), "Q": spec.size(last.lots).to_string(),
        "b": spec.price(bid.ticks).to_string(), "B": spec.size(bid.lots).to_string(),
        "a": spec.price(ask.ticks).to_string(), "A": spec.size(ask.lots).to_string(),
        "o": spec.price(open).to_string(),
        "h": spec.price(totals.high.max(open)).to_string(), "l": spec.price(totals.low.min(open)).to_string(),
        "v": spec.size(totals.lots).to_string(), "q": totals.quote.to_string(),
        "O": ms.saturating_sub(86_400_000), "C": ms,
        "F": last.id + 1 - totals.trades, "L": last.id, "n": totals.trades,
    });
    text.to_string()
}

pub(super) fn mini_ticker(instrument: &Instrument, open: i64, at: UnixNanos) -> String {
    let (spec, totals) = (&instrument.spec, &instrument.totals);
    format!(
        "{{\"e\":\"24hrMiniTicker\",\"E\":{},\"s\":\"{}\",\"c\":\"{}\",\"o\":\"{}\",\"h\":\"{}\",\"l\":\"{}\",\"v\":\"{}\",\"q\":\"{}\"}}",
        at / MILLI,
        spec.symbol,
        spec.price(instrument.last.ticks),
        spec.price(open),
        spec.price(totals.high.max(open)),
        spec.price(totals.low.min(open)),
        spec.size(totals.lots),
        totals.quote,
    )
}

/// Change in percent with three places.
fn percent(last: i64, open: i64) -> String {
    let thousandths = (last - open) * 100_000 / open.max(1);
    rust_decimal::Decimal::new(thousandths, 3).to_string()
}
