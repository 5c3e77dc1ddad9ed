//! `/stream` and `/raw`: one socket for all exchanges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::process::Bond;
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Opens `/stream` and says what is wanted.
async fn feed(bond: &Bond, query: &str, wish: Value) -> Result<Socket> {
    let mut socket = Socket::open(&format!("{}/stream{query}", bond.ws)).await?;
    socket.send(&with_type(wish)).await?;
    Ok(socket)
}

fn with_type(mut wish: Value) -> Value {
    wish["type"] = json!("subscribe");
    wish
}

/// The field as text; empty where it is none.
fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

fn number(event: &Value, field: &str) -> Result<u64> {
    event[field].as_u64().with_context(|| format!("no {field} in {event}"))
}

/// Reads until an event satisfies `wanted`, and gives everything that came, that one last.
async fn until(socket: &mut Socket, mut wanted: impl FnMut(&Value) -> bool) -> Result<Vec<Value>> {
    let mut came = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        came.push(socket.event().await?);
        if came.last().is_some_and(&mut wanted) {
            return Ok(came);
        }
    }
    bail!("did not come in 30 s; {} other messages did", came.len())
}

#[tokio::test]
async fn what_is_unknown_is_an_error_and_the_rest_is_served() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "300"], &[]).await?;
    let wish = json!({
        "channels": ["trades", "candles"], "symbols": ["BTC/USDT", "FOO/"], "exchanges": ["okx", "binance", "mtgox"],
        "correlation_id": {"n": 1},
    });
    let mut socket = feed(&bond, "", wish).await?;
    let mut errors = Vec::new();
    let mut venues = BTreeSet::new();
    while venues.len() < 2 || errors.len() < 3 {
        let event = socket.event().await?;
        match text(&event, "type") {
            "error" => errors.push(event),
            "trade" => {
                assert_eq!(event["symbol"], "BTC/USDT");
                venues.insert(text(&event, "exchange").to_owned());
            }
            other => assert!(["heartbeat", "ack"].contains(&other), "{event}"),
        }
    }
    assert_eq!(venues, ["binance", "okx"].map(str::to_owned).into());
    for (error, named) in errors.iter().zip(["candles", "FOO/", "mtgox"]) {
        assert_eq!((text(error, "code"), &error["correlation_id"]), ("INVALID_TOPIC", &json!({"n": 1})));
        assert!(text(error, "message").contains(named), "{error}");
    }
    for nonsense in
        ["{", "[]", "hello", r#"{"type": "dance"}"#, r#"{"type": "subscribe", "max_lag_ms": 5000}"#]
    {
        socket.send_text(nonsense).await?;
        let error = socket.event_of("error").await?;
        assert_eq!(text(&error, "code"), "INVALID_MESSAGE", "{nonsense}");
    }
    socket.event_of("trade").await.map(drop)
}

#[tokio::test]
async fn a_new_subscribe_replaces_and_an_unsubscribe_ends() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "300"], &[]).await?;
    let mut socket = feed(&bond, "", json!({"channels": "trades", "symbols": "BTC/USDT"})).await?;
    socket.event_of("trade").await?;
    socket
        .send(&with_type(json!({"channels": ["price"], "symbols": ["ETH/USDT"], "correlation_id": "b"})))
        .await?;
    until(&mut socket, |event| event["correlation_id"] == "b").await?;
    let later = until(&mut socket, |event| event["type"] == "ticker").await?;
    let after: Vec<Value> =
        later.into_iter().chain(until(&mut socket, |event| event["type"] == "ticker").await?).collect();
    assert!(
        after.iter().all(|event| event["symbol"] == "ETH/USDT" || event["type"] == "heartbeat"),
        "{after:?}"
    );
    socket.send(&json!({"type": "unsubscribe", "correlation_id": "c"})).await?;
    until(&mut socket, |event| event["correlation_id"] == "c").await?;
    // A ping there and back, twice: whatever was on its way would be between the two.
    for id in [json!(1), json!({"deep": ["x", 1.50]})] {
        socket.send(&json!({"type": "ping", "correlation_id": id})).await?;
        let came = until(&mut socket, |event| event["type"] == "pong").await?;
        assert_eq!(came.last().map(|pong| &pong["correlation_id"]), Some(&id));
        assert!(came.iter().all(|event| event["type"] != "ticker"), "{came:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wildcard_is_what_runs_and_follows_what_begins() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "400"], &[]).await?;
    let mut socket =
        feed(&bond, "", json!({"channels": ["trades"], "symbols": ["*"], "exchanges": "*"})).await?;
    let mut topics = BTreeSet::new();
    let mut note = |event: &Value| {
        if event["type"] == "trade" {
            topics.insert(format!("{} {}", text(event, "exchange"), text(event, "symbol")));
        }
        topics.len()
    };
    let came = until(&mut socket, |event| note(event) == 9).await?;
    assert!(came.iter().all(|event| event["symbol"] != "DOGE/USDT"));
    bond.stream("DOGE price on okx").await?;
    until(&mut socket, |event| event["symbol"] == "DOGE/USDT").await.map(drop)
}

#[tokio::test]
async fn speed_thins_tickers_and_never_trades() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "600"], &[]).await?;
    let begun = Instant::now();
    let wish = json!({"channels": ["ticker", "trades"], "symbols": ["BTC/USDT"], "exchanges": ["okx"], "speed_ms": 500});
    let mut socket = feed(&bond, "?control=true", wish).await?;
    let (mut tickers, mut trades) = (Vec::new(), Vec::new());
    while tickers.len() < 5 || trades.len() < 100 {
        let event = socket.event().await?;
        match text(&event, "type") {
            "ticker" => tickers.push(number(&event, "seq")?),
            "trade" => trades.push(number(&event, "seq")?),
            "gap" => bail!("a number that was thinned out is no gap: {event}"),
            _ => {}
        }
    }
    let most = begun.elapsed().as_millis() / 500 + 2;
    assert!(tickers.len() as u128 <= most, "{} tickers, not {most}", tickers.len());
    assert!(tickers.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(tickers.windows(2).any(|pair| pair[0] + 1 < pair[1]), "nothing was thinned: {tickers:?}");
    assert!(trades.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{trades:?}");
    Ok(())
}

#[tokio::test]
async fn max_lag_orders_topics_by_venue_time() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "600"], &[]).await?;
    let wish = json!({"channels": ["trades"], "symbols": ["BTC/USDT", "ETH/USDT"], "max_lag_ms": 1000});
    let mut socket = feed(&bond, "", wish).await?;
    let (mut newest, mut topics, mut count) = (0, BTreeMap::<String, u64>::new(), 0);
    while count < 1_500 {
        let event = socket.event_of("trade").await?;
        let (time, seq) = (number(&event, "ts_exchange")?, number(&event, "seq")?);
        ensure!(time >= newest, "{time} after {newest} from {event}");
        let before = topics.insert(text(&event, "topic").to_owned(), seq);
        ensure!(before.is_none_or(|before| before + 1 == seq), "{before:?}, then {event}");
        (newest, count) = (time, count + 1);
    }
    assert_eq!(topics.len(), 6, "{topics:?}");
    Ok(())
}

/// A book's levels by the digits of their price.
type Book = [BTreeMap<String, String>; 2];

fn levels(event: &Value) -> impl Iterator<Item = (usize, String, String)> {
    let side = |index: usize, name: &str| {
        let levels = event[name].as_array().cloned().unwrap_or_default();
        levels.into_iter().map(move |level| (index, level[0].to_string(), level[1].to_string()))
    };
    side(0, "bids").chain(side(1, "asks"))
}

/// Takes a whole book, or applies changed levels: a size of zero takes a level away.
fn apply(book: &mut Book, event: &Value) {
    if event["book"] != "changes" {
        *book = Book::default();
    }
    for (side, price, size) in levels(event) {
        match size.as_str() {
            "0" => drop(book[side].remove(&price)),
            _ => drop(book[side].insert(price, size)),
        }
    }
}

#[tokio::test]
async fn changed_levels_make_the_whole_book() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "800"], &[]).await?;
    let wish = json!({"channels": ["orderbook"], "symbols": ["BTC/USDT"], "exchanges": ["okx"], "depth": 20});
    let mut whole = feed(&bond, "", wish.clone()).await?;
    whole.event_of("orderbook").await?;
    let mut with_changes = wish;
    with_changes["book"] = json!("changes");
    let mut changes = feed(&bond, "", with_changes).await?;
    let (mut rebuilt, mut book, mut checked, mut last) = (Book::default(), Book::default(), 0, None);
    while checked < 40 {
        let event = changes.event_of("orderbook").await?;
        let seq = number(&event, "seq")?;
        match last {
            None => assert!(event.get("book").is_none(), "the first is a whole one: {event}"),
            Some(last) => assert_eq!(seq, last + 1),
        }
        checked += u32::from(event["book"] == "changes");
        last = Some(seq);
        apply(&mut rebuilt, &event);
        let same = until(&mut whole, |event| event["seq"] == seq).await?;
        let same = same.last().context("an event")?;
        apply(&mut book, same);
        assert_eq!(rebuilt, book, "at {seq}: {event}");
        assert_eq!([rebuilt[0].len(), rebuilt[1].len()], [20, 20]);
        assert_eq!(
            (&event["sequence"], &event["prev_sequence"]),
            (&same["sequence"], &same["prev_sequence"])
        );
    }
    Ok(())
}

#[tokio::test]
async fn raw_adds_the_frames_of_venues() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    let wish =
        json!({"channels": ["trades"], "symbols": ["BTC/USDT"], "exchanges": ["binance"], "raw": true});
    let mut socket = feed(&bond, "", wish).await?;
    let mut asked = Socket::open(&format!(
        "{}/raw?symbol=BTC/USDT&channels=trades&exchange=binance&raw=true&mode=x",
        bond.ws
    ))
    .await?;
    for socket in [&mut socket, &mut asked] {
        let raw = socket.event_of("raw").await?;
        let frame = &raw["payload"]["data"]["data"];
        assert_eq!(
            (text(&raw, "exchange"), text(&raw["payload"], "type"), text(frame, "e")),
            ("binance", "trades", "trade")
        );
        let id = frame["t"].to_string();
        until(socket, |event| event["type"] == "trade" && event["trade_id"] != id.as_str()).await?;
    }
    let mut plain =
        Socket::open(&format!("{}/raw?symbol=BTC/USDT,ETH/USDT&channels=trades", bond.ws)).await?;
    let mut symbols = BTreeSet::new();
    let came = until(&mut plain, |event| {
        symbols.extend(event["symbol"].as_str().filter(|symbol| !symbol.is_empty()).map(str::to_owned));
        symbols.len() == 2
    });
    assert!(came.await?.iter().all(|event| ["trade", "heartbeat"].contains(&text(event, "type"))));
    Ok(())
}
