//! Specs as clients of the system before send them.

use super::*;

/// A spec with these sources as it is understood, and the paths of its warnings.
fn understood(spec: &Value) -> (Value, Vec<String>) {
    let (spec, warnings) = read(spec.clone());
    let paths = warnings.into_iter().map(|warning| warning.path).collect();
    (serde_json::to_value(spec).expect("JSON"), paths)
}

fn ticker_and_trades(symbols: &[&str], market_type: &str) -> Value {
    json!({"type": "market", "symbols": symbols, "channels": ["ticker", "trades"], "market_type": market_type})
}

fn social(assets: &[&str]) -> Value {
    json!({"type": "social", "provider": "x", "symbols": assets})
}

/// Sources as they were sent, with what stood beside them, and as they are today.
#[test]
fn a_dozen_specs_mean_what_they_meant() {
    let spot = ticker_and_trades(&["BTC/USDT"], "spot");
    let on = |venues: &[&str], mut source: Value| {
        source["exchanges"] = json!(venues);
        source
    };
    let trades = |mut source: Value| {
        source["channels"] = json!(["trades"]);
        source
    };
    let at_top = json!(["BTC/USDT"]);
    let none = Value::Null;
    for (sources, symbols, today) in [
        (json!([{"type": "ccxt"}]), &at_top, json!([spot])),
        (json!([{"type": "ccxt", "symbols": []}]), &at_top, json!([spot])),
        (json!([{"type": "ccxt", "symbols": null}]), &json!(["btcusdt"]), json!([spot])),
        (json!([{"type": "ccxt"}, {"type": "twitter"}]), &at_top, json!([spot, social(&["BTC"])])),
        (json!([{"type": "ccxt", "exchange": "binance"}]), &at_top, json!([on(&["binance"], spot.clone())])),
        (
            json!([{"type": "ccxt.trades", "exchange": ["binance", "okx"], "symbols": ["ETH/USDT"]}]),
            &none,
            json!([on(&["binance", "okx"], trades(ticker_and_trades(&["ETH/USDT"], "spot")))]),
        ),
        (
            json!([{"type": "ccxt", "symbols": ["BTC/USDT", "ETH/USDT"]}, {"type": "x.tweets", "symbols": ["ETH"]}]),
            &json!(["BTC/USDT", "ETH/USDT"]),
            json!([ticker_and_trades(&["BTC/USDT", "ETH/USDT"], "spot"), social(&["ETH"])]),
        ),
        (
            json!([{"type": "ccxt", "market_type": "futures"}]),
            &at_top,
            json!([ticker_and_trades(&["BTC/USDT:USDT"], "perpetual")]),
        ),
        (
            json!([{"type": "ccxt", "market_type": "swap", "channels": ["funding"], "symbols": ["SOL/USDT"]}]),
            &none,
            json!([{"type": "market", "symbols": ["SOL/USDT:USDT"], "channels": ["funding"], "market_type": "perpetual"}]),
        ),
        (
            json!([{"type": "ccxt", "channels": ["orderbook"], "depth": 10}]),
            &at_top,
            json!([{"type": "market", "symbols": ["BTC/USDT"], "channels": ["orderbook"], "market_type": "spot", "depth": 10}]),
        ),
        (
            json!([{"type": "custom"}, {"type": "ccxt"}]),
            &at_top,
            json!([spot, {"type": "liquidations", "symbols": ["BTC/USDT"]}]),
        ),
        (
            json!([{"type": "ccxt"}, {"type": "custom.ws", "url": "wss://example.com/feed"}]),
            &at_top,
            json!([spot, {"type": "websocket", "url": "wss://example.com/feed"}]),
        ),
        (json!([{"type": "twitter", "symbols": ["BTC", "DOGE"]}]), &none, json!([social(&["BTC", "DOGE"])])),
        (json!([{"type": "ccxt"}, {"type": "market"}]), &at_top, json!([spot])),
    ] {
        let (spec, warnings) =
            understood(&json!({"sources": sources, "symbols": symbols, "interval_sec": 10}));
        assert_eq!(spec["sources"], today, "{sources}");
        assert_eq!(warnings, [""; 0], "{sources}");
    }
}

#[test]
fn where_no_symbol_is_named_anywhere_bitcoin_is_taken_and_a_warning_says_so() {
    for spec in [
        json!({"sources": [{"type": "ccxt"}], "interval_sec": 10}),
        json!({"sources": [{"type": "ccxt.ticker", "symbols": []}], "symbols": []}),
        json!({"sources": [{"type": "ccxt"}, {"type": "twitter"}, {"type": "custom"}], "symbols": null}),
    ] {
        let (understood, warnings) = understood(&spec);
        assert_eq!(
            (&understood["symbols"], warnings),
            (&json!(["BTC/USDT"]), vec!["symbols".to_owned()]),
            "{spec}"
        );
    }
    let (_, warnings) = read(json!({"sources": [{"type": "ccxt"}]}));
    assert!(warnings[0].message.contains("BTC/USDT"), "{}", warnings[0]);
}

#[test]
fn no_symbol_is_made_up_for_todays_types_nor_beside_one_that_was_named() {
    for (spec, paths) in [
        (json!({"sources": [{"type": "market"}]}), vec!["sources[0].symbols"]),
        (json!({"sources": [{"type": "twitter"}]}), vec!["sources[0].symbols"]),
        (
            json!({"sources": [{"type": "market", "symbols": []}], "symbols": ["BTC"]}),
            vec!["sources[0].symbols"],
        ),
        (
            json!({"sources": [{"type": "ccxt"}, {"type": "twitter", "symbols": ["ETH"]}]}),
            vec!["sources[0].symbols"],
        ),
        (json!({"sources": [{"type": "ccxt"}], "symbols": ["FOOCOIN"]}), vec!["symbols[0]"]),
    ] {
        let error = read_spec(&spec).expect_err("refused");
        let found: Vec<_> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(found, paths, "{spec}");
    }
}

#[test]
fn other_names_of_perpetuals_are_known_in_legacy_sources_alone() {
    let with = |kind: &str, name: &str| json!({"sources": [{"type": kind, "symbols": ["BTC"], "market_type": name}]});
    for name in ["futures", "swap", "perp", "linear", "perpetual", "Swap"] {
        assert_eq!(normal(with("ccxt", name))["symbols"], json!(["BTC/USDT:USDT"]), "{name}");
    }
    assert_eq!(normal(with("ccxt", "spot"))["symbols"], json!(["BTC/USDT"]));
    assert!(problems(with("ccxt", "inverse"))[0].starts_with("sources[0].market_type"));
    assert!(problems(with("market", "futures"))[0].starts_with("sources[0].market_type"));
}

fn with_transforms(kind: &str, transforms: &Value) -> Value {
    json!({"sources": [{"type": kind, "symbols": ["BTC/USDT"]}], "interval_sec": 10, "transforms": transforms})
}

#[test]
fn resample_without_a_figure_means_the_price() {
    let transforms = json!([{"op": "resample", "window": "1m"}]);
    let (spec, warnings) = understood(&with_transforms("ccxt", &transforms));
    assert_eq!(
        spec["transforms"],
        json!([{"op": "resample", "window": "60s", "on": "price_avg", "agg": ["mean"]}])
    );
    assert_eq!(warnings, ["transforms[0].on"]);
    assert!(problems(with_transforms("market", &transforms))[0].starts_with("transforms[0].on"));
}

#[test]
fn project_gives_price_and_volume_under_the_names_that_were_asked_for() {
    let transforms = json!([{"op": "project", "fields": ["price", "volume", "ts", "volume_sum"]}]);
    let (spec, warnings) = understood(&with_transforms("ccxt", &transforms));
    let today = json!([{"op": "project", "fields": ["ts", "volume_sum"], "named": {"price": "price_avg", "volume": "volume_sum"}}]);
    assert_eq!((&spec["transforms"], warnings.len()), (&today, 0));
    let (again, _) = read(spec.clone());
    assert_eq!(serde_json::to_value(again).expect("JSON"), spec, "today's form of it is read as it is");
    let counted =
        json!([{"op": "count", "window": "1m", "as": "volume"}, {"op": "project", "fields": ["volume"]}]);
    let (spec, _) = understood(&with_transforms("ccxt", &counted));
    assert_eq!(
        spec["transforms"][1],
        json!({"op": "project", "fields": ["volume"]}),
        "a field of that name is itself"
    );
    let today = normal(with_transforms("market", &json!([{"op": "project", "fields": ["price"]}])));
    assert_eq!(today["transforms"], json!([{"op": "project", "fields": ["price_close"]}]));
}

#[test]
fn new_names_of_figures_are_checked() {
    for (named, path) in [
        (json!({"vwap": "price_avg"}), "transforms[0].named.vwap"),
        (json!({"Price": "price_avg"}), "transforms[0].named.Price"),
        (json!({"price": "mood"}), "transforms[0].named.price"),
        (json!({"price": "symbol"}), "transforms[0].named.price"),
        (json!({"price": 1}), "transforms[0].named.price"),
        (json!(["price"]), "transforms[0].named"),
    ] {
        let found = problems(with_transforms(
            "market",
            &json!([{"op": "project", "fields": ["ts"], "named": named}]),
        ));
        assert!(found[0].starts_with(path), "{named}: {found:?}");
    }
    let later = json!([{"op": "project", "fields": [], "named": {"price": "price_avg"}}, {"op": "resample", "window": "30s", "on": "vwap"}]);
    assert!(problems(with_transforms("market", &later))[0].starts_with("transforms[1].on"));
}
