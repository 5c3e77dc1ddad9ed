//! The dearest bodies and sentences that a request can carry, against a bound on what understanding them may take.

use std::time::{Duration, Instant};

use bond_language::{Defaults, MAX_CHARS, compile, read_spec, read_spec_bytes};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Bytes of a body, as REST takes it.
const BODY: usize = 64 * 1024;

/// What one may take. Without optimisation everything is an order of magnitude slower, and the machine may be busy.
const BOUND: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 50 });

#[track_caller]
fn assert_cheap(what: &str, work: impl FnOnce()) {
    let begun = Instant::now();
    work();
    let taken = begun.elapsed();
    assert!(taken < BOUND, "{what}: {taken:?}");
}

/// `value` as often as it fits beside the rest of a body.
fn filled(value: &Value, room: usize) -> Vec<Value> {
    vec![value.clone(); room / (value.to_string().len() + 1)]
}

/// Specs of up to a whole body that have to be looked at, looked up, or refused, as often as can be.
fn dearest_specs() -> Vec<(&'static str, Value)> {
    let market = json!({"type": "market"});
    let symbols = |value: Value| filled(&value, BODY - 1_000);
    let source = |symbols: Vec<Value>| json!({"type": "market", "symbols": symbols});
    let near = |length: usize| Value::from("bitcoim".chars().cycle().take(length).collect::<String>());
    let fields: serde_json::Map<String, Value> =
        (0..7_000).map(|n| (format!("{n:x}"), Value::from(0))).collect();
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let url = |host: &str| json!({"type": "websocket", "url": format!("wss://{}/", host)});
    vec![
        (
            "short unknown words",
            json!({"symbols": symbols("abcde".into()), "sources": vec![market.clone(); 17]}),
        ),
        ("near misses", json!({"symbols": symbols("bitcoim".into()), "sources": vec![market.clone(); 17]})),
        ("one long symbol", json!({"symbols": [near(60_000)], "sources": vec![market.clone(); 17]})),
        ("long symbols of their own", json!({"sources": vec![source(vec![near(3_700)]); 17]})),
        ("pairs", json!({"symbols": symbols("A/B".into()), "sources": vec![market; 17]})),
        ("sources", json!({"sources": filled(&source(vec!["X/Y".into()]), BODY - 100)})),
        ("unknown fields", Value::from(fields.clone())),
        ("unknown fields of a source", json!({"sources": [fields]})),
        ("numbers", json!({"symbols": symbols(1.into())})),
        ("large numbers", json!({"interval_sec": symbols(json!(1e300))})),
        (
            "channels",
            json!({"sources": [{"type": "market", "symbols": "BTC", "channels": symbols("x".into())}]}),
        ),
        (
            "venues",
            json!({"sources": [{"type": "market", "symbols": "BTC", "exchanges": symbols("x".into())}]}),
        ),
        (
            "transforms",
            json!({"sources": [source(vec!["BTC".into()])], "transforms": filled(&json!({"op": "project"}), BODY)}),
        ),
        ("a deep list", json!({"sources": deep})),
        ("one host", json!({"sources": [url(&"ü".repeat(30_000))]})),
        ("hosts", json!({"sources": vec![url(&"ü.".repeat(900)); 16]})),
    ]
}

#[test]
fn no_spec_is_dear() {
    assert_cheap("the first one, which makes tables", || {
        drop(read_spec(&json!({"symbols": "x"})));
    });
    for (what, spec) in dearest_specs() {
        let text = spec.to_string();
        assert!(text.len() <= BODY + 2_000, "{what}: {}", text.len());
        assert_cheap(what, || drop(read_spec_bytes(text.as_bytes())));
    }
}

#[test]
fn a_list_of_a_thousand_wrong_symbols_is_told_with_its_length_and_once() {
    let spec = json!({"symbols": vec!["abcde"; 1_000], "sources": [{"type": "market"}, {"type": "social"}]});
    let problems = read_spec(&spec).expect_err("refused").problems;
    assert!(problems[0].message.starts_with("1000 entries; a list has 100 at most"), "{}", problems[0]);
    let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((problems.len(), paths.len()), (20, 20));
}

/// Sentences made of one piece over and over.
#[test]
fn no_sentence_is_dear() {
    let pieces = [
        "abcde ",
        "bitcoim ",
        "x",
        "BTC ",
        "BTC/",
        "BTC,",
        "btc and ",
        "near ",
        "of near ",
        "1",
        "1 ",
        "1,000,",
        "1h30m",
        "five ",
        "hundred ",
        "every ",
        "$x ",
        "$",
        "@a ",
        "not ",
        "no BTC, ",
        "wss://a ",
        "depth 50 ",
        "币",
        "ü",
        "'s",
        "'",
        "w/",
        "/",
        "-",
        ". ",
        "all data ",
        "full book ",
        "BTC-USDT-PERP ",
        "Ⓐ",
        "\u{301}",
    ];
    for piece in pieces {
        let sentence: String = piece.chars().cycle().take(MAX_CHARS).collect();
        assert_cheap(piece, || drop(compile(&sentence, &Defaults::default())));
        let whole_body = piece.repeat(BODY / piece.len());
        assert_cheap(piece, || drop(compile(&whole_body, &Defaults::default())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_mixture_is_dear(
        words in proptest::collection::vec("[a-zA-Z]{1,12}|[0-9]{1,6}|[^a-z]{1,8}|btc|and|of|every|on|near|,|/|[$]", 1..400),
        sources in 1_usize..20,
    ) {
        let sentence: String = words.join(" ").chars().take(MAX_CHARS).collect();
        assert_cheap("a sentence", || drop(compile(&sentence, &Defaults::default())));
        let spec = json!({"symbols": words, "sources": vec![json!({"type": "market", "symbols": words}); sources]});
        let text: String = spec.to_string();
        assert_cheap("a spec", || drop(read_spec_bytes(text.as_bytes())));
    }
}
