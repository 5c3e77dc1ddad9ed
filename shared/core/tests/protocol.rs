//! The messages beside events, and the document that shows all messages: `docs/protocol.md`.
//!
//! In the document every block of JSON names its golden message, as in ```` ```json trade ````, and is that message byte for byte but for
//! line breaks and the blanks that begin a line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bond_core::code::{CloseCode, Code, comes_back};
use bond_core::log::{Gap, GapReason};
use bond_core::message::{ClientMessage, Rate, Request, ServerMessage, Subscribe, Unsubscribe, to_json};
use bond_core::position::{Epoch, Position};
use bond_core::source::{SourceState, SourceStatus};
use bond_core::time::UnixNanos;
use bond_core::wire;
use serde_json::value::RawValue;

const SERVER: &str = include_str!("golden/messages.json");
const CLIENT: &str = include_str!("golden/client_messages.json");
const TOPICS: [&str; 2] =
    [include_str!("golden/topic_messages.json"), include_str!("golden/topic_client_messages.json")];
const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

const NOW: UnixNanos = UnixNanos::from_millis(1_732_186_800_125);

type Golden = BTreeMap<String, Box<RawValue>>;

fn golden(text: &str) -> Golden {
    serde_json::from_str(text).expect("golden messages")
}

#[track_caller]
fn assert_server(name: &str, text: Vec<u8>) {
    assert_eq!(String::from_utf8(text).expect("UTF-8"), golden(SERVER)[name].get());
}

#[track_caller]
fn assert_client(name: &str, message: &ClientMessage) -> Request {
    let request = Request::parse(golden(CLIENT)[name].get());
    assert_eq!(request.message.as_ref(), Ok(message), "{name}");
    request
}

fn epoch(name: &str) -> Epoch {
    Epoch::new(name).expect("epoch")
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_clients_say_is_understood() {
    let subscribe = Subscribe {
        channels: names(&["trades", "orderbook"]),
        symbols: names(&["BTC/USDT"]),
        exchanges: names(&["binance", "okx"]),
        depth: Some(20),
        ..Subscribe::default()
    };
    let request = assert_client("subscribe", &ClientMessage::Subscribe(Box::new(subscribe)));
    assert_eq!(request.correlation_id.as_deref().map(RawValue::get), Some("\"first\""));
    let all = Subscribe {
        channels: names(&["ticker", "orderbook"]),
        symbols: names(&["BTC/USDT"]),
        exchanges: names(&["*"]),
        depth: Some(50),
        raw: true,
        speed: Duration::from_millis(100),
        max_lag: Duration::from_millis(250),
        book_changes: true,
        batch_size: Some(50),
        topic: None,
    };
    let (filter, unknown) = all.filter().expect("a filter");
    assert!(filter.is_some_and(|filter| filter.venues.is_empty()) && unknown.is_empty());
    assert_client("subscribe_all_fields", &ClientMessage::Subscribe(Box::new(all)));
    assert_client("unsubscribe", &ClientMessage::Unsubscribe(Unsubscribe::default()));
    let position = Position { epoch: epoch("18f5a1x0"), seq: 42 };
    assert_client("resume", &ClientMessage::Resume { topic: "trades.okx.BTC-USDT".into(), position });
    assert_client("ping", &ClientMessage::Ping);
    let topic = Some("ticker.okx.BTC-USDT".to_owned());
    assert_client("frequency", &ClientMessage::Frequency { topic, rate: Rate::Low });
    assert_client("frequency_all", &ClientMessage::Frequency { topic: None, rate: Rate::Normal });
    assert_client("background_mode", &ClientMessage::BackgroundMode(true));
    let token = "v1.a3.1732190400.q7Xf0b1mYc2kq6wYlVQm2m0q3o5m8Yb1uGZ0c9Qx7fE".to_owned();
    assert_client("refresh", &ClientMessage::Refresh { token });
}

#[test]
fn a_client_is_answered() {
    let echo = RawValue::from_string("\"first\"".into()).expect("json");
    let ack = ServerMessage::Ack { action: "subscribe", ts: NOW, correlation_id: Some(&echo) };
    assert_server("ack", to_json(&ack));
    let seven = RawValue::from_string("7".into()).expect("json");
    assert_server("pong", to_json(&ServerMessage::Pong { ts: NOW, correlation_id: Some(&seven) }));
    let asked = Subscribe { channels: names(&["trades", "candles"]), ..Subscribe::default() };
    let (_, errors) = asked.filter().expect("the rest is served");
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_server("error", to_json(&ServerMessage::error(error, Some(&echo))));
}

#[test]
fn a_client_is_told_how_things_are() {
    let state = |state, simulated| SourceStatus { state, since: NOW, simulated };
    let sources = BTreeMap::from([
        ("binance".into(), state(SourceState::Connected, true)),
        ("kraken".into(), state(SourceState::Unavailable, false)),
        ("okx".into(), state(SourceState::Reconnecting, true)),
    ]);
    assert_server("heartbeat", to_json(&ServerMessage::heartbeat(1, NOW, &sources)));
    let (topic, first) = ("trades.okx.BTC-USDT", epoch("18f5a1x0"));
    let behind = Gap { from_seq: Some(43), to_seq: 971, reason: GapReason::BehindRing };
    assert_server("gap", to_json(&ServerMessage::gap(topic, &first, behind)));
    let anew = Gap { from_seq: None, to_seq: 0, reason: GapReason::EpochChanged };
    assert_server("gap_epoch_changed", to_json(&ServerMessage::gap(topic, &epoch("18f5b2x0"), anew)));
    let lost = br#""source":"okx","state":"reconnecting","since":"2024-11-21T11:00:00.125Z","reason":"the connection was closed""#;
    assert_server("status", wire::status(topic, &first, 42, lost));
    let lacking = br#""source":"binance","state":"connected","since":"2024-11-21T11:00:00.125Z","reason":"","lost":{"from":3735683260,"to":3735683263}"#;
    assert_server("status_lost", wire::status("trades.binance.BTC-USDT", &first, 42, lacking));
    let leaving = ServerMessage::Reconnect { after_ms: 2_150, reason: "shutdown" };
    assert_server("reconnect", to_json(&leaving));
}

/// The blocks of JSON in the document: the name that each has, and its text on one line.
fn blocks() -> Vec<(&'static str, String)> {
    let mut blocks = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("```json") {
            let text = lines.by_ref().take_while(|line| *line != "```").map(str::trim_start).collect();
            blocks.push((name.trim(), text));
        }
    }
    blocks
}

#[test]
fn the_document_shows_every_golden_message_and_no_other() {
    let mut all = golden(SERVER);
    all.extend(golden(CLIENT));
    all.extend(TOPICS.into_iter().flat_map(golden));
    let mut shown = BTreeSet::new();
    for (name, text) in blocks() {
        let golden = all.get(name).unwrap_or_else(|| panic!("{name:?} is no golden message:\n{text}"));
        assert_eq!(text, golden.get(), "{name}");
        shown.insert(name);
    }
    let missing: Vec<_> = all.keys().filter(|name| !shown.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/protocol.md: {missing:?}");
}

/// The rows of the table under this heading, each as its cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = DOCUMENT.split_once(heading).expect("the heading");
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Every code. A new one does not compile until it is here.
fn codes() -> Vec<Code> {
    let all = [
        Code::AuthRequired,
        Code::AuthInvalid,
        Code::AuthExpired,
        Code::Forbidden,
        Code::NotFound,
        Code::InvalidMessage,
        Code::InvalidTopic,
        Code::TooLarge,
        Code::Conflict,
        Code::LimitExceeded,
        Code::RateLimitExceeded,
        Code::SlowConsumer,
        Code::ConnectionError,
        Code::InternalError,
    ];
    let is_listed = |code: Code| match code {
        Code::AuthRequired
        | Code::AuthInvalid
        | Code::AuthExpired
        | Code::Forbidden
        | Code::NotFound
        | Code::InvalidMessage
        | Code::InvalidTopic
        | Code::TooLarge
        | Code::Conflict
        | Code::LimitExceeded
        | Code::RateLimitExceeded
        | Code::SlowConsumer
        | Code::ConnectionError
        | Code::InternalError => all.contains(&code),
    };
    assert!(all.into_iter().all(is_listed));
    all.to_vec()
}

/// Every close code of ours. A new one does not compile until it is here.
fn close_codes() -> BTreeSet<u16> {
    let all = [
        CloseCode::Normal,
        CloseCode::ProtocolError,
        CloseCode::Unsupported,
        CloseCode::InvalidText,
        CloseCode::PolicyViolation,
        CloseCode::TooLarge,
        CloseCode::Unreadable,
        CloseCode::TryAgainLater,
        CloseCode::GoingAway,
        CloseCode::SlowConsumer,
        CloseCode::Idle,
        CloseCode::UserRevoked,
        CloseCode::StreamEnded,
    ];
    let is_listed = |code: CloseCode| match code {
        CloseCode::Normal
        | CloseCode::ProtocolError
        | CloseCode::Unsupported
        | CloseCode::InvalidText
        | CloseCode::PolicyViolation
        | CloseCode::TooLarge
        | CloseCode::Unreadable
        | CloseCode::TryAgainLater
        | CloseCode::GoingAway
        | CloseCode::SlowConsumer
        | CloseCode::Idle
        | CloseCode::UserRevoked
        | CloseCode::StreamEnded => all.contains(&code),
    };
    assert!(all.into_iter().all(is_listed));
    all.into_iter().map(CloseCode::number).collect()
}

#[test]
fn the_table_of_error_codes_is_true() {
    let rows = table("\n## Error codes\n");
    let told: Vec<_> = rows.iter().map(|row| (row[0].trim_matches('`').to_owned(), row[2])).collect();
    let retryable = |code: Code| if code.is_retryable() { "yes" } else { "no" };
    let right: Vec<_> = codes().into_iter().map(|code| (code.as_str().to_owned(), retryable(code))).collect();
    assert_eq!(told, right);
}

#[test]
fn the_table_of_close_codes_is_true() {
    let mut numbers = BTreeSet::new();
    for row in table("\n## How a connection ends\n") {
        let mut words = row[0].split([' ', ',']).filter(|word| !word.is_empty());
        let Some(first) = words.next().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) else {
            continue;
        };
        let again = row[2].trim_matches('*') == "yes";
        let (low, high) = first.split_once('–').unwrap_or((first, first));
        let number = |text: &str| text.parse::<u16>().expect("a close code");
        let reasons: Vec<&str> = words.map(|word| word.trim_matches('`')).collect();
        let tried = if reasons.is_empty() { vec![""] } else { reasons };
        for (number, reason) in
            [number(low), number(high)].into_iter().flat_map(|n| tried.iter().map(move |r| (n, *r)))
        {
            assert_eq!(comes_back(number, reason), again, "{row:?}");
            numbers.insert(number);
        }
    }
    let missing: Vec<_> = close_codes().difference(&numbers).copied().collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}
