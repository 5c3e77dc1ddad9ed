//! An event as a line for people.

use serde_json::{Value, json};

use crate::command::printable::escaped;

/// A field's text, or none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// One line for people: the time, the symbol, and what matters of this kind of event.
pub(super) fn readable(event: &Value, color: bool) -> String {
    let clock = escaped(text(event, "ts").get(11..23).unwrap_or_default());
    let (symbol, kind) = (escaped(text(event, "symbol")), escaped(text(event, "type")));
    let detail = match text(event, "type") {
        "aggregate" => aggregate(event),
        "trade" => fields(event, &["exchange", "side", "price", "size"]),
        "ticker" => fields(event, &["exchange", "bid", "ask", "last", "mark"]),
        "orderbook" => format!("{} {} x {}", text(event, "exchange"), top(event, "bids"), top(event, "asks")),
        "funding" => fields(event, &["exchange", "rate", "next_time", "mark"]),
        "liquidation" => fields(event, &["exchange", "side", "price", "size"]),
        "tweet" => fields(event, &["author", "text"]),
        "status" => fields(event, &["source", "state", "reason"]),
        _ => event.to_string(),
    };
    let detail = escaped(&detail);
    match color {
        true => format!("\x1b[2m{clock}\x1b[0m \x1b[1m{symbol:<10}\x1b[0m {kind:<9} {detail}"),
        false => format!("{clock} {symbol:<10} {kind:<9} {detail}"),
    }
}

fn aggregate(event: &Value) -> String {
    let shown = fields(
        event,
        &[
            "price_avg",
            "price_open",
            "price_high",
            "price_low",
            "price_close",
            "volume_sum",
            "tweets",
            "custom_count",
        ],
    );
    let incomplete = if event["complete"] == json!(false) { "  incomplete" } else { "" };
    let simulated = if event["raw_data"]["simulated"] == json!(true) { "  simulated" } else { "" };
    format!("{shown}{incomplete}{simulated}")
}

fn top(event: &Value, side: &str) -> String {
    event[side][0].as_array().map_or_else(|| "-".to_owned(), |level| format!("{}@{}", level[1], level[0]))
}

/// `name=value` of the fields that are there and not null; text without quotes.
fn fields(event: &Value, names: &[&str]) -> String {
    let shown = names.iter().filter_map(|name| match event.get(*name)? {
        Value::Null => None,
        Value::String(value) => Some(format!("{name}={value}")),
        value => Some(format!("{}={value}", name.trim_start_matches("price_"))),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregate_reads_as_one_line() {
        let event = json!({"type": "aggregate", "symbol": "BTC/USDT", "ts": "2026-11-21T10:00:05.000Z", "price_avg": 1.5,
            "volume_sum": 2, "tweets": 3, "price_open": null, "complete": false, "raw_data": {"simulated": true}});
        assert_eq!(
            readable(&event, false),
            "10:00:05.000 BTC/USDT   aggregate avg=1.5 volume_sum=2 tweets=3  incomplete  simulated"
        );
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let event = json!({"type": "tweet", "symbol": "BTC\u{1b}c", "ts": "2026-11-21T10:00:05.000Z",
            "author": "a\u{7f}", "text": "\u{1b}[2Jgone\u{9b}31m\n\u{202e}txet"});
        assert_eq!(
            readable(&event, false),
            "10:00:05.000 BTC\\u001bc tweet     author=a\\u007f text=\\u001b[2Jgone\\u009b31m\\u000a\\u202etxet"
        );
    }
}
