use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn understood(text: &str) -> Compilation {
    compile(text, &Defaults::default()).unwrap_or_else(|error| refused(text, &error))
}

#[allow(clippy::panic)]
fn refused(text: &str, error: &LanguageError) -> ! {
    panic!("{text:?}: {error}")
}

#[test]
fn every_phrase_that_was_used_is_explained_with_its_place() {
    let result = understood("“BTC” price + tweets every 5s for an hour, no funding");
    let explained: Vec<_> = result
        .explanation
        .iter()
        .map(|part| (part.text.as_str(), part.meaning.as_str(), part.path.as_deref()))
        .collect();
    assert_eq!(
        explained,
        [
            ("BTC", "the asset BTC", Some("sources[0].symbols")),
            ("price", "prices: the channels ticker and trades", Some("sources[0].channels")),
            ("tweets", "posts on X that mention the assets", Some("sources[1]")),
            ("every 5s", "one aggregate every 5 s", Some("interval_sec")),
            ("for an hour", "the stream ends after 3600 s", Some("ttl_sec")),
            ("funding", "left out", None),
        ]
    );
    assert_eq!(result.explanation[0].span, (3, 6), "bytes of UTF-8, after a quote of three");
}

#[test]
fn a_figure_of_the_aggregate_is_explained_and_changes_nothing() {
    let result = understood("vwap of BTC");
    assert_eq!(result.explanation[0].meaning, "a figure that every aggregate has");
    assert_eq!(result.explanation[0].path, None);
    assert_eq!(result.spec.id(), understood("BTC").spec.id());
}

#[test]
fn excluded_venues_leave_the_configured_ones() {
    let defaults = Defaults { venues: [Venue::Binance, Venue::Bybit].into() };
    let result = compile("BTC except bybit", &defaults).expect("understood");
    let json = serde_json::to_value(&result.spec).expect("JSON");
    assert_eq!(json["sources"][0]["exchanges"], serde_json::json!(["binance"]));
}

#[test]
fn the_words_that_are_wrong_are_pointed_at() {
    let error = compile("price of bitcon every 5s", &Defaults::default()).expect_err("misspelt");
    assert_eq!(error.span, Some((9, 15)));
    assert_eq!(error.suggestions, ["bitcoin"]);
}

/// Sentences of words that the grammar knows, in any order.
fn any_words() -> impl Strategy<Value = String> {
    let words = &[
        "BTC",
        "eth",
        "near",
        "link",
        "not",
        "ONE",
        "$FOO",
        "BTC/USDT",
        "ETH-USDT-PERP",
        "FOOCOIN",
        "price",
        "tweets",
        "trades",
        "order book",
        "depth 50",
        "funding",
        "everything",
        "all",
        "data",
        "every",
        "5s",
        "10",
        "twice a",
        "second",
        "for",
        "next",
        "an hour",
        "on",
        "binance",
        "kraken",
        "mtgox",
        "without",
        "except",
        "but",
        "and",
        ",",
        "+",
        "/",
        "with",
        "spot",
        "perp",
        "raw",
        "wss://a.example/x",
        "in",
        "EUR",
        "vs",
        "of",
        "last",
        "24h",
        "volume",
        "-",
        "’s",
        "half",
        "1M",
        "0",
        "😀",
        ".",
        "level",
        "@x",
        "#btc",
        "full",
        "RSI",
        "alert",
        "above",
        "$100k",
        "%",
        "change",
        "compare",
        "whale",
        "tweeting",
        "dashboard",
    ][..];
    prop::collection::vec(prop::sample::select(words), 0..12).prop_map(|words| words.join(" "))
}

/// The same without words that mean something else in capitals.
fn plain_words() -> impl Strategy<Value = String> {
    let words = &[
        "BTC",
        "Eth",
        "$sol",
        "btc/USDT",
        "ETH-USDT-perp",
        "Price",
        "TWEETS",
        "order book",
        "Depth 50",
        "funding",
        "everything",
        "Every",
        "5S",
        "twice a",
        "SECOND",
        "for",
        "an hour",
        "on",
        "Binance",
        "without",
        "But",
        "AND",
        ",",
        "+",
        "With",
        "SPOT",
        "raw",
        "in EUR",
        "Vs",
        "of",
    ][..];
    prop::collection::vec(prop::sample::select(words), 0..10).prop_map(|words| words.join(" "))
}

/// A sentence that is refused for what is left over of it suggests one that works.
fn suggests_well(error: &LanguageError) -> Result<(), TestCaseError> {
    if error.code != LanguageCode::NotUnderstood {
        return Ok(());
    }
    let found = error.suggestions.iter().map(|nearest| compile(nearest, &Defaults::default()));
    for result in found {
        prop_assert_eq!(result.map(|result| result.warnings), Ok(Vec::new()), "{:?}", error);
    }
    Ok(())
}

fn hold(text: &str) -> Result<(), TestCaseError> {
    let result = match compile(text, &Defaults::default()) {
        Ok(result) => result,
        Err(error) => return suggests_well(&error),
    };
    let json = serde_json::to_value(&result.spec).expect("JSON");
    let (again, _) = crate::read_spec(&json).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&again, &result.spec, "a compiled spec is normal");
    let stored = StreamSpec::deserialize(&json).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&stored, &result.spec, "the engine reads it as it is");
    for part in &result.explanation {
        prop_assert_eq!(&text[part.span.0..part.span.1], part.text.as_str());
    }
    for symbol in result.spec.symbols() {
        let base = symbol.base().to_lowercase();
        let lower = text.to_lowercase().replace('-', " ");
        let names = crate::assets::ASSETS.iter().filter(|asset| asset.ticker == symbol.base());
        let mut names = names.flat_map(|asset| asset.names.iter().chain(asset.word_names));
        let said = lower.contains(&base) || names.any(|name| lower.contains(name));
        prop_assert!(said, "{} was not said", symbol);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_answered_without_panic(text in "\\PC{0,80}") {
        hold(&text)?;
    }

    #[test]
    fn any_bytes_of_ascii_are_answered_without_panic(text in "[ -~]{0,60}") {
        hold(&text)?;
    }

    #[test]
    fn any_order_of_known_words_gives_a_normal_spec_or_an_error(text in any_words()) {
        hold(&text)?;
    }

    #[test]
    fn case_of_plain_words_does_not_matter(text in plain_words()) {
        let id = |text: &str| compile(text, &Defaults::default()).ok().map(|result| result.spec.id());
        prop_assert_eq!(id(&text), id(&text.to_lowercase()));
    }
}
