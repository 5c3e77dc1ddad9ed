#![allow(clippy::needless_pass_by_value, reason = "json! literals are passed as they stand")]
use std::collections::BTreeSet;

mod legacy;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(spec: Value) -> (StreamSpec, Vec<Warning>) {
    read_spec(&spec).unwrap_or_else(|error| panic_on(&spec, &error))
}

#[allow(clippy::panic)]
fn panic_on(spec: &Value, error: &SpecError) -> ! {
    panic!("refused: {spec}\n{error}")
}

fn normal(spec: Value) -> Value {
    serde_json::to_value(read(spec).0).expect("JSON")
}

fn problems(spec: Value) -> Vec<String> {
    let error = read_spec(&spec).expect_err("a refusal");
    error.problems.iter().map(ToString::to_string).collect()
}

fn market(symbols: &[&str]) -> Value {
    json!({"type": "market", "symbols": symbols})
}

#[test]
fn the_published_example_is_normal_already() {
    let text = r#"{"version":"v1","sources":[{"type":"market","symbols":["BTC/USDT"],"exchanges":["binance","bybit","okx"],"channels":["ticker","trades"],"market_type":"spot"},{"type":"social","provider":"x","symbols":["BTC"]},{"type":"liquidations","symbols":["BTC/USDT"]},{"type":"websocket","url":"wss://example.com/feed","map":{"value":"/p","ts":"/T"}}],"symbols":["BTC/USDT"],"interval_sec":5,"transforms":[],"ttl_sec":null}"#;
    let (spec, warnings) = read_spec_bytes(text.as_bytes()).expect("valid");
    assert_eq!(serde_json::to_string(&spec).expect("JSON"), text);
    assert_eq!(warnings, []);
}

/// Digests by Python's `hashlib.blake2b(canonical, digest_size=8)`.
#[test]
fn the_id_is_blake2b_of_eight_bytes_over_the_canonical_form() {
    let (spec, _) = read(json!({"sources": [market(&["BTC"]), {"type": "social", "symbols": ["BTC"]}]}));
    let canonical = r#"{"interval_sec":5,"sources":[{"channels":["ticker","trades"],"market_type":"spot","symbols":["BTC/USDT"],"type":"market"},{"provider":"x","symbols":["BTC"],"type":"social"}],"symbols":["BTC/USDT"],"transforms":[],"version":"v1"}"#;
    assert_eq!(spec.canonical(), canonical);
    assert_eq!(spec.id().as_str(), "eeecba43405edc8d");
}

#[test]
fn spelling_order_and_labels_do_not_change_the_id() {
    let (plain, _) = read(json!({"sources": [market(&["BTC/USDT", "ETH/USDT"])]}));
    for same in [
        json!({"sources": [market(&["ethusdt", "btc-usdt", "BTC"])], "interval_sec": 5.0}),
        json!({"sources": [market(&["ETH", "bitcoin"])], "ttl_sec": 60, "name": "n", "description": "d"}),
        json!({"sources": [{"type": "market", "channels": ["trades", "ticker", "trades"]}], "symbols": ["ETH", "BTC"]}),
        json!({"sources": [market(&["BTC", "ETH"]), market(&["ETH", "BTC"])], "transforms": null}),
        json!({"sources": [{"type": "market", "symbols": "BTC,ETH".split(',').collect::<Vec<_>>(), "exchanges": [], "market_type": "spot"}]}),
    ] {
        assert_eq!(read(same.clone()).0.id(), plain.id(), "{same}");
    }
}

#[test]
fn what_the_stream_carries_changes_the_id() {
    let specs = [
        json!({"sources": [market(&["BTC"])]}),
        json!({"sources": [market(&["ETH"])]}),
        json!({"sources": [market(&["BTC"])], "interval_sec": 10}),
        json!({"sources": [market(&["BTC"])], "interval_sec": null}),
        json!({"sources": [market(&["BTC/USDT:USDT"])]}),
        json!({"sources": [{"type": "market", "symbols": ["BTC"], "exchanges": ["binance", "bybit", "okx"]}]}),
        json!({"sources": [{"type": "market", "symbols": ["BTC"], "channels": ["orderbook"]}]}),
        json!({"sources": [{"type": "market", "symbols": ["BTC"], "channels": ["orderbook"], "depth": 50}]}),
        json!({"sources": [market(&["BTC"])], "transforms": [{"op": "project", "fields": ["price"]}]}),
    ];
    let ids: BTreeSet<_> = specs.iter().map(|spec| read(spec.clone()).0.id()).collect();
    assert_eq!(ids.len(), specs.len());
}

#[test]
fn a_perpetual_is_implied_by_its_symbol_and_by_funding() {
    for (source, symbol) in [
        (json!({"type": "market", "symbols": ["BTC"], "market_type": "perpetual"}), "BTC/USDT:USDT"),
        (json!({"type": "market", "symbols": ["BTC-USDT-PERP"]}), "BTC/USDT:USDT"),
        (json!({"type": "market", "symbols": ["BTC/USDC"], "channels": ["funding"]}), "BTC/USDC:USDC"),
    ] {
        let spec = normal(json!({"sources": [source]}));
        assert_eq!(spec["sources"][0]["market_type"], "perpetual");
        assert_eq!(spec["symbols"], json!([symbol]));
    }
}

#[test]
fn every_symbol_is_counted_once_at_the_top() {
    let perpetual = json!({"type": "market", "symbols": ["BTC"], "market_type": "perpetual"});
    let liquidations = json!({"type": "liquidations", "symbols": ["BTC/USDT:USDT", "SOL"]});
    let social = json!({"type": "social", "symbols": ["BTC/USDT", "DOGE"]});
    let spec = normal(json!({"sources": [social, liquidations, perpetual]}));
    assert_eq!(spec["symbols"], json!(["BTC/USDT:USDT", "DOGE/USDT", "SOL/USDT"]));
    assert_eq!(spec["sources"][1]["symbols"], json!(["BTC", "DOGE"]));
    assert_eq!(spec["sources"][2]["symbols"], json!(["BTC/USDT", "SOL/USDT"]));
}

#[test]
fn an_asset_that_no_table_has_is_read_again_where_its_pair_is_spelled_out() {
    // The second is an asset whose name is spelled like a pair.
    for pair in ["NEWCOIN/USDT", "SOLUSDT/USDT"] {
        let market = json!({"type": "market", "symbols": [pair]});
        let (spec, _) = read(json!({"sources": [market, {"type": "social", "symbols": [pair]}]}));
        let (again, _) = read_spec_bytes(spec.canonical().as_bytes()).expect("its own form");
        assert_eq!(again.id(), spec.id());
    }
}

#[test]
fn the_earlier_forms_are_normalised() {
    let (spec, warnings) = read(json!({
        "sources": [
            {"type": "ccxt", "exchange": "binance", "fields": ["price"], "symbols": ["BTC/USDT"]},
            {"type": "ccxt.trades", "exchanges": ["okx"], "symbols": ["BTC/USDT"]},
            {"type": "twitter"},
            {"type": "custom", "mode": "mock_liq", "interval_sec": 1},
            {"type": "custom.ws", "url": "wss://example.com", "config": {}},
            {"type": "onchain.grpc", "chain": "sol"}
        ],
        "symbols": ["BTC/USDT"], "interval_sec": 5.0, "transforms": null
    }));
    let spec = serde_json::to_value(spec).expect("JSON");
    assert_eq!(
        spec["sources"],
        json!([
            {"type": "market", "symbols": ["BTC/USDT"], "exchanges": ["binance"], "channels": ["ticker", "trades"], "market_type": "spot"},
            {"type": "market", "symbols": ["BTC/USDT"], "exchanges": ["okx"], "channels": ["trades"], "market_type": "spot"},
            {"type": "social", "provider": "x", "symbols": ["BTC"]},
            {"type": "liquidations", "symbols": ["BTC/USDT"]},
            {"type": "websocket", "url": "wss://example.com/"}
        ])
    );
    let paths: Vec<_> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "sources[0].fields",
            "sources[3].mode",
            "sources[3].interval_sec",
            "sources[4].config",
            "sources[5]"
        ]
    );
    let today = json!({"type": "market", "symbols": ["BTC"], "fields": ["price"], "exchange": "okx"});
    assert_eq!(problems(json!({"sources": [today]})).len(), 2);
}

#[test]
fn everything_wrong_is_reported_with_its_path() {
    let found = problems(json!({
        "version": "v2",
        "sources": [
            {"type": "market", "symbols": ["FOOCOIN", 7], "chanels": ["trades"], "exchanges": ["mtgox"]},
            {"type": "weather"},
            {"type": "websocket", "url": "https://example.com"},
            {"type": "market", "symbols": ["BTC"], "channels": ["funding"], "market_type": "spot"},
            {"type": "market", "symbols": ["BTC"], "depth": 20},
            {"type": "liquidations"},
            "tweets"
        ],
        "interval_sec": 0, "ttl_sec": 0.5, "transforms": {}, "limit": 3
    }));
    let paths: Vec<_> = found.iter().map(|problem| problem.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        paths,
        [
            "version",
            "sources[0].symbols[1]",
            "sources[0].symbols[0]",
            "sources[0].exchanges[0]",
            "sources[0].chanels",
            "sources[1].type",
            "sources[2].url",
            "sources[3].market_type",
            "sources[4].depth",
            "sources[5].symbols",
            "sources[6]",
            "interval_sec",
            "transforms",
            "ttl_sec",
            "limit"
        ],
        "{found:#?}"
    );
    assert!(found[4].contains("known here: type, channels, symbols"), "{}", found[4]);
}

#[test]
fn other_symbols_at_the_top_are_refused() {
    let spec = json!({"sources": [market(&["BTC"])], "symbols": ["BTC/USDT", "ETH/USDT"]});
    assert!(problems(spec)[0].starts_with("symbols: "));
    let perpetual = json!({"type": "market", "symbols": ["BTC"], "market_type": "perpetual"});
    read(json!({"sources": [perpetual], "symbols": ["BTC/USDT"]}));
}

#[test]
fn nothing_is_invented_and_nothing_is_endless() {
    let many: Vec<String> = (0..101).map(|i| format!("A{i}/USDT")).collect();
    let seventeen: Vec<Value> = (0..17).map(|i| market(&[&format!("A{i}/USDT")])).collect();
    for (spec, path) in [
        (json!({}), "sources"),
        (json!({"sources": []}), "sources"),
        (json!({"sources": [{"type": "onchain"}]}), "sources"),
        (json!({"sources": [{"type": "market"}]}), "sources[0].symbols"),
        (json!({"sources": [{"type": "market", "symbols": many}]}), "sources[0].symbols"),
        (json!({"sources": seventeen}), "sources"),
        (json!({"sources": [{"type": "market", "symbols": ["*"]}]}), "sources[0].symbols[0]"),
        (json!({"sources": [{"type": "market", "symbols": ["USDT"]}]}), "sources[0].symbols[0]"),
        (json!({"sources": [market(&["BTC"])], "interval_sec": "5"}), "interval_sec"),
        (json!([]), "expected an object, not a list"),
    ] {
        let found = problems(spec.clone());
        assert!(found[0].starts_with(path), "{spec}: {found:?}");
    }
}

#[test]
fn a_refusal_is_never_longer_than_twenty_problems() {
    let wrong: Vec<String> = (0..500).map(|i| format!("FOO{i}")).collect();
    assert_eq!(problems(json!({"sources": [{"type": "market", "symbols": wrong}]})).len(), 20);
    let misspelt = problems(json!({"sources": [market(&["bitcon"])]}));
    assert!(misspelt[0].contains("did you mean bitcoin?"), "{misspelt:?}");
}

#[test]
fn a_book_has_the_depth_that_was_asked_for_up_to_fifty_levels() {
    let book = |depth: Value| json!({"sources": [{"type": "market", "symbols": ["BTC"], "channels": ["orderbook"], "depth": depth}]});
    for (asked, given, warned) in [(10, 10, 0), (33, 33, 0), (51, 100, 1), (100, 100, 0), (399, 400, 1)] {
        let (spec, warnings) = read(book(json!(asked)));
        assert_eq!(serde_json::to_value(&spec).expect("JSON")["sources"][0]["depth"], given);
        assert_eq!(warnings.len(), warned, "{asked}");
    }
    assert_eq!(normal(book(Value::Null))["sources"][0]["depth"], 20);
    for wrong in [json!(0), json!(401), json!(-1), json!(2.5), json!("20")] {
        assert!(problems(book(wrong))[0].starts_with("sources[0].depth"));
    }
}

#[test]
fn a_known_venue_that_is_not_served_is_kept_with_a_warning() {
    let (spec, warnings) =
        read(json!({"sources": [{"type": "market", "symbols": ["BTC"], "exchanges": ["Kraken", "*"]}]}));
    assert_eq!(serde_json::to_value(&spec).expect("JSON")["sources"][0]["exchanges"], json!(["kraken"]));
    assert!(warnings[0].message.contains("kraken"));
}

#[test]
fn transforms_are_checked_against_what_stands_before_them() {
    let with = |transforms: Value| json!({"sources": [market(&["BTC"])], "transforms": transforms});
    let spec = normal(with(json!([
        {"op": "resample", "window": "1m", "on": "price", "agg": ["mean", "last", "mean"]},
        {"op": "count", "window": "60s", "as": "event_count"},
        {"op": "project", "fields": ["ts", "price_close_mean", "event_count"]}
    ])));
    assert_eq!(
        spec["transforms"],
        json!([
            {"op": "resample", "window": "60s", "on": "price_close", "agg": ["last", "mean"]},
            {"op": "count", "window": "60s", "as": "event_count"},
            {"op": "project", "fields": ["event_count", "price_close_mean", "ts"]}
        ])
    );
    for (transforms, path) in [
        (json!([{"op": "resample", "window": "7s", "on": "price"}]), "transforms[0].window"),
        (json!([{"op": "resample", "window": "soon", "on": "price"}]), "transforms[0].window"),
        (json!([{"op": "resample", "window": "60s", "on": "mood"}]), "transforms[0].on"),
        (json!([{"op": "resample", "window": "60s", "on": "symbol"}]), "transforms[0].on"),
        (json!([{"op": "resample", "window": "60s", "on": "funding_rate"}]), "transforms[0].on"),
        (
            json!([{"op": "resample", "window": "60s", "on": "price", "agg": ["median"]}]),
            "transforms[0].agg[0]",
        ),
        (json!([{"op": "count", "window": "60s", "as": "tweets"}]), "transforms[0].as"),
        (
            json!([{"op": "count", "window": "60s"}, {"op": "resample", "window": "30s", "on": "vwap"}]),
            "transforms[1].window",
        ),
        (
            json!([{"op": "project", "fields": ["ts"]}, {"op": "resample", "window": "60s", "on": "vwap"}]),
            "transforms[1].on",
        ),
        (json!([{"op": "project", "fields": ["mood"]}]), "transforms[0].fields[0]"),
        (json!([{"op": "project", "fields": ["ts"], "keep": 1}]), "transforms[0].keep"),
        (json!([{"op": "explode"}]), "transforms[0].op"),
        (json!([{"window": "60s"}]), "transforms[0].op"),
    ] {
        let found = problems(with(transforms.clone()));
        assert!(found[0].starts_with(path), "{transforms}: {found:?}");
    }
    let funding = json!({"type": "market", "symbols": ["BTC"], "channels": ["funding"]});
    read(
        json!({"sources": [funding], "transforms": [{"op": "resample", "window": "60s", "on": "funding_rate"}]}),
    );
    let windowless = json!({"sources": [market(&["BTC"])], "interval_sec": null, "transforms": [{"op": "project", "fields": ["ts"]}]});
    assert!(problems(windowless)[0].starts_with("transforms"));
}

#[test]
fn urls_are_guarded_without_changing_the_id() {
    let (spec, _) = read(json!({"sources": [{"type": "websocket", "url": "ws://127.0.0.1:9000/x#y"}]}));
    assert_eq!(guard_urls(&spec, true), Ok(()));
    let refused = guard_urls(&spec, false).expect_err("private");
    assert_eq!(refused.problems[0].path, "sources[0].url");
    assert!(spec.canonical().contains("ws://127.0.0.1:9000/x\""));
}

fn any_json() -> impl Strategy<Value = Value> {
    let words =
        "type|sources|symbols|market|social|channels|trades|BTC|BTC/USDT|window|60s|op|resample|ccxt|url";
    let text = prop_oneof![words, "[ -~]{0,12}", "\\PC{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(
                ("[a-z_]{1,12}|type|sources|symbols|transforms|op|interval_sec", inner),
                0..6
            )
            .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn some<T: Clone + std::fmt::Debug + 'static>(choices: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(prop::sample::select(choices), 1..4)
}

fn any_source() -> impl Strategy<Value = Value> {
    let symbols = some(&["BTC", "eth", "SOL/USDC", "btc-usdt", "XYZ/EUR", "DOGE-USDT-PERP"]);
    let venues = prop::collection::vec(prop::sample::select(&["okx", "Binance", "kraken", "*"][..]), 0..3);
    let channels = some(&["trades", "ticker", "orderbook", "funding"]);
    let market = (symbols, venues, channels).prop_map(|(symbols, exchanges, channels)| {
        json!({"type": "market", "symbols": symbols, "exchanges": exchanges, "channels": channels})
    });
    let social =
        some(&["BTC", "eth", "SOL/USDC"]).prop_map(|symbols| json!({"type": "twitter", "symbols": symbols}));
    let liquidations =
        some(&["BTC", "XYZ/USDC:USDC"]).prop_map(|symbols| json!({"type": "custom", "symbols": symbols}));
    let socket = "[a-z]{1,5}"
        .prop_map(|path| json!({"type": "custom.ws", "url": format!("wss://Example.com/{path}")}));
    prop_oneof![market, social, liquidations, socket]
}

fn any_spec() -> impl Strategy<Value = Value> {
    let interval =
        prop_oneof![Just(Value::Null), (1u32..864_000).prop_map(|tenths| json!(f64::from(tenths) / 10.0))];
    (prop::collection::vec(any_source(), 1..6), interval, prop::option::of(1u32..100_000)).prop_map(
        |(sources, interval, ttl)| json!({"sources": sources, "interval_sec": interval, "ttl_sec": ttl}),
    )
}

proptest! {
    #[test]
    fn reading_never_panics(value in any_json()) {
        let _ = read_spec(&value);
        let _ = read_spec(&json!({"sources": [value.clone()], "transforms": [value.clone()], "interval_sec": value}));
    }

    #[test]
    fn reading_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_spec_bytes(&bytes);
    }

    #[test]
    fn a_returned_spec_is_read_back_as_itself(value in any_spec()) {
        let (spec, _) = read(value);
        let text = serde_json::to_string(&spec).expect("JSON");
        let (again, _) = read_spec_bytes(text.as_bytes()).expect("accepted back");
        prop_assert_eq!(&again, &spec);
        prop_assert_eq!(again.id(), spec.id());
        prop_assert_eq!(serde_json::to_string(&again).expect("JSON"), text.as_str());
        let stored: StreamSpec = serde_json::from_str(&text).expect("read by the engine");
        prop_assert_eq!(stored, spec);
    }

    #[test]
    fn the_order_of_sources_does_not_matter(value in any_spec()) {
        let mut reversed = value.clone();
        reversed["sources"].as_array_mut().expect("a list").reverse();
        prop_assert_eq!(read(value).0.id(), read(reversed).0.id());
    }
}
