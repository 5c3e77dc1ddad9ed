//! Messages of Bybit, apart from tickers.

use serde_json::{Value, json};

use super::super::levels;
use super::super::view::View;
use crate::clock::MILLI;
use crate::config::Market;
use crate::market::{Level, Liquidation, Side, Spec, Trade};

/// `ts` comes before `type` on spot and after it on derivatives: clients must not read by position.
pub(super) fn message(
    topic: &str,
    kind: &str,
    spec: &Spec,
    bids: &[Level],
    asks: &[Level],
    view: &View,
) -> String {
    let ms = view.at / MILLI;
    let head = match spec.market {
        Market::Spot => format!("\"ts\":{ms},\"type\":\"{kind}\""),
        Market::Perpetual => format!("\"type\":\"{kind}\",\"ts\":{ms}"),
    };
    format!(
        "{{\"topic\":\"{topic}\",{head},\"data\":{{\"s\":\"{}\",\"b\":{},\"a\":{},\"u\":{},\"seq\":{}}},\"cts\":{ms}}}",
        spec.symbol,
        levels(spec, bids, ""),
        levels(spec, asks, ""),
        view.updates,
        view.sequence,
    )
}

fn side(side: Side) -> &'static str {
    if side == Side::Bid { "Buy" } else { "Sell" }
}

/// Spot ids are long decimals, those of derivatives UUIDs.
pub(super) fn trade_id(spec: &Spec, id: u64) -> String {
    match spec.market {
        Market::Spot => format!("22900000{id}"),
        Market::Perpetual => format!("{:08x}-0000-5000-8000-{id:012x}", spec.asset),
    }
}

pub(super) fn trade_message(topic: &str, spec: &Spec, trade: &Trade) -> String {
    let (ms, id) = (trade.at / MILLI, trade_id(spec, trade.id));
    let direction = if spec.market == Market::Spot { "" } else { "\"L\":\"ZeroPlusTick\"," };
    format!(
        "{{\"topic\":\"{topic}\",\"type\":\"snapshot\",\"ts\":{ms},\"data\":[{{\"T\":{ms},\"s\":\"{}\",\"S\":\"{}\",\"v\":\"{}\",\"p\":\"{}\",{direction}\"i\":\"{id}\",\"BT\":false,\"RPI\":false,\"seq\":{}}}]}}",
        spec.symbol,
        side(trade.taker),
        spec.size(trade.lots),
        spec.price(trade.ticks),
        trade.sequence,
    )
}

/// `S` is the side of the position: `Buy` when a long was liquidated, by an order to sell.
pub(super) fn liquidation_datum(spec: &Spec, liquidation: &Liquidation) -> Value {
    let position = if liquidation.order == Side::Ask { Side::Bid } else { Side::Ask };
    json!({
        "T": liquidation.at / MILLI,
        "s": spec.symbol,
        "S": side(position),
        "v": spec.size(liquidation.lots).to_string(),
        "p": spec.price(liquidation.ticks).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Venue;

    #[test]
    fn a_long_that_is_liquidated_by_selling_is_a_buy() {
        let spec = Spec::new(Venue::Bybit, Market::Perpetual, 0);
        let liquidation = Liquidation { order: Side::Ask, ticks: 950_000, lots: 1, at: 0 };
        assert_eq!(liquidation_datum(&spec, &liquidation)["S"], "Buy");
    }
}
