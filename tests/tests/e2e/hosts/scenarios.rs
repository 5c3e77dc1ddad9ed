//! What every host must do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::host::{Host, Reader, subscribe};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::socket::{Came, Socket};
use serde_json::{Value, json};

/// Runs every scenario, each on streams of its own.
pub(super) async fn run(host: &Host) -> Result<()> {
    /// Names the scenario in what it fails with.
    macro_rules! scenarios {
        ($($name:ident),* $(,)?) => {
            $(
                let begun = tokio::time::Instant::now();
                $name(host).await.with_context(|| format!("{}: {}", host.traits.name, stringify!($name)))?;
                println!("{}: {} in {:.1} s", host.traits.name, stringify!($name), begun.elapsed().as_secs_f64());
            )*
        };
    }
    scenarios![
        a_sentence_becomes_aggregates,
        the_past_joins_the_present,
        a_client_goes_on_where_it_was,
        what_cannot_be_resumed_is_announced,
        a_quiet_client_gets_events_alone,
        a_message_is_answered,
        batches_are_arrays_and_whole,
        a_feed_is_what_was_asked_for,
        a_rate_outlives_a_new_subscription_that_takes_its_topic,
        what_is_said_of_a_topic_counts_once_it_runs,
        a_hundred_topics_have_a_rate,
        a_book_has_no_more_levels_than_were_asked_for,
        tokens_are_checked,
        figures_are_counted,
        a_deleted_stream_ends_for_all,
    ];
    Ok(())
}

/// Every trade of one symbol.
const TICKS: &str = "BTC trades tick by tick";

async fn aggregates(host: &Host, symbol: &str) -> Result<Value> {
    host.api.stream(&format!("{symbol} price + tweets every 1s")).await
}

fn number(event: &Value, field: &str) -> Result<u64> {
    event[field].as_u64().with_context(|| format!("no {field} in {event}"))
}

async fn a_sentence_becomes_aggregates(host: &Host) -> Result<()> {
    let created = aggregates(host, "BTC").await?;
    let mut reader = host.read(&created, "").await?;
    let mut end: Option<String> = None;
    for _ in 0..4 {
        let event = reader.next().await?;
        ensure!(event["type"] == "aggregate" && event["symbol"] == "BTC/USDT", "{event}");
        ensure!(event["price_avg"].is_number() && event["raw_data"]["simulated"] == true, "{event}");
        let (start, next) = (&event["window_start"], &event["window_end"]);
        ensure!(end.is_none_or(|end| *start == json!(end)), "windows follow each other: {event}");
        end = next.as_str().map(str::to_owned);
    }
    let listed = host.api.get("/v1/streams").await?.1;
    let is_listed =
        listed.as_array().context("a list")?.iter().any(|s| s["stream_id"] == created["stream_id"]);
    ensure!(is_listed, "{listed}");
    let again = aggregates(host, "BTC").await?;
    ensure!(again["created"] == false && again["stream_id"] == created["stream_id"], "{again}");
    Ok(())
}

async fn the_past_joins_the_present(host: &Host) -> Result<()> {
    let created = host.api.stream(TICKS).await?;
    let mut first = host.read(&created, "&from=now-60s").await?;
    first.until(u64::from(host.traits.rate)).await?;
    for join in 0..host.traits.joins {
        let known = first.numbers.last;
        let mut reader = host.read(&created, "&from=now-60s").await?;
        let event = reader.next().await?;
        ensure!(number(&event, "seq")? <= known, "join {join} begins in the past: {event}");
        reader
            .until(known + u64::from(host.traits.rate) / 4)
            .await
            .with_context(|| format!("join {join}"))?;
        first.until(reader.numbers.last).await?;
    }
    Ok(())
}

async fn a_client_goes_on_where_it_was(host: &Host) -> Result<()> {
    let created = host.api.stream(TICKS).await?;
    let mut reader = host.read(&created, "").await?;
    for _ in 0..20 {
        reader.next().await?;
    }
    let Reader { socket, numbers } = reader;
    socket.close().await?;
    let mut witness = host.read(&created, "").await?;
    for _ in 0..20 {
        witness.next().await?;
    }
    let mut resumed = host.read(&created, &format!("&from={}", numbers.position())).await?;
    let event = resumed.next().await?;
    ensure!(number(&event, "seq")? == numbers.last + 1, "goes on after {}: {event}", numbers.position());
    resumed.until(witness.numbers.last + 10).await
}

async fn what_cannot_be_resumed_is_announced(host: &Host) -> Result<()> {
    let created = host.api.stream(TICKS).await?;
    let mut reader = host.read(&created, "&from=0000dead:7").await?;
    let gap = reader.socket.event_of("gap").await?;
    ensure!(gap["reason"] == "epoch_changed" && gap["from_seq"].is_null(), "{gap}");
    let event = reader.next().await?;
    ensure!(number(&event, "seq")? == number(&gap, "to_seq")? + 1, "{gap} and then {event}");
    ensure!(event["epoch"] == gap["epoch"], "{gap} and then {event}");
    reader.until(reader.numbers.last + 20).await
}

async fn a_quiet_client_gets_events_alone(host: &Host) -> Result<()> {
    let created = host.api.stream(TICKS).await?;
    let mut reader = host.read(&created, "&from=now-5s").await?;
    for _ in 0..30 {
        let event = reader.socket.event().await?;
        ensure!(event["type"] == "trade", "{event}");
    }
    Ok(())
}

/// The next message that is no event.
async fn word(socket: &mut Socket) -> Result<Value> {
    loop {
        let message = socket.event().await?;
        if message["seq"].is_null() && message["type"] != "heartbeat" && message["type"] != "status" {
            return Ok(message);
        }
    }
}

async fn a_message_is_answered(host: &Host) -> Result<()> {
    let created = aggregates(host, "ETH").await?;
    let mut reader = host.read(&created, "").await?;
    reader.socket.send(&json!({"type": "ping", "correlation_id": "p"})).await?;
    let pong = word(&mut reader.socket).await?;
    ensure!(pong["type"] == "pong", "{pong}");
    ensure!(host.traits.mock_pong || pong["correlation_id"] == "p", "{pong}");
    reader.socket.send(&json!({"type": "dance", "correlation_id": 7})).await?;
    let error = word(&mut reader.socket).await?;
    ensure!(error["code"] == "INVALID_MESSAGE" && error["correlation_id"] == 7, "{error}");
    let event = reader.next().await?;
    let (epoch, seq, topic) = (&event["epoch"], &event["seq"], &event["topic"]);
    let resume = json!({"type": "resume", "topic": topic, "epoch": epoch, "seq": seq, "correlation_id": "r"});
    reader.socket.send(&resume).await?;
    let ack = word(&mut reader.socket).await?;
    ensure!(ack["type"] == "ack" && ack["action"] == "resume" && ack["correlation_id"] == "r", "{ack}");
    reader.next().await.map(drop)
}

async fn batches_are_arrays_and_whole(host: &Host) -> Result<()> {
    let created = host.api.stream(TICKS).await?;
    let mut socket = Socket::open(&ws_url(&created, "&batch=10&wait_ms=500&from=now-30s")).await?;
    let (mut numbers, mut longest) = (Numbers::default(), 0);
    while numbers.last == 0 || longest < 2 {
        let batch: Vec<Value> = serde_json::from_str(&socket.text().await?)?;
        ensure!(!batch.is_empty() && batch.len() <= 10, "{} events", batch.len());
        longest = longest.max(batch.len());
        for event in &batch {
            numbers.take_once(&Head::read(&event.to_string())?)?;
        }
    }
    Ok(())
}

async fn a_feed_is_what_was_asked_for(host: &Host) -> Result<()> {
    let mut socket = host.feed("&control=true").await?;
    let wish = json!({"channels": ["trades"], "symbols": ["SOL/USDT"], "exchanges": ["okx", "binance"], "correlation_id": 1});
    socket.send(&subscribe(wish)).await?;
    let mut numbers: BTreeMap<String, Numbers> = BTreeMap::new();
    let mut acked = false;
    while !acked || numbers.len() < 2 || numbers.values().any(|numbers| numbers.last < 5) {
        let text = socket.text().await?;
        let event: Value = serde_json::from_str(&text)?;
        acked |= event["type"] == "ack" && event["correlation_id"] == 1;
        ensure!(event["type"] != "gap" && event["type"] != "error", "{text}");
        if event["type"] == "trade" {
            ensure!(event["symbol"] == "SOL/USDT", "{text}");
            let topic = event["topic"].as_str().context("topic")?.to_owned();
            numbers.entry(topic).or_default().take_once(&Head::read(&text)?)?;
        }
    }
    let topics: BTreeSet<&str> = numbers.keys().map(String::as_str).collect();
    ensure!(topics == ["trades.binance.SOL-USDT", "trades.okx.SOL-USDT"].into(), "{topics:?}");
    socket.send(&json!({"type": "unsubscribe", "correlation_id": 2})).await?;
    loop {
        let message = socket.event().await?;
        if message["type"] == "ack" && message["correlation_id"] == 2 {
            break;
        }
    }
    silence(&mut socket).await
}

/// Ten levels are in no list of depths: they are a topic of their own, beside the usual one.
async fn a_book_has_no_more_levels_than_were_asked_for(host: &Host) -> Result<()> {
    let mut socket = host.feed("&control=true").await?;
    let wish = json!({"channels": ["orderbook"], "symbols": ["ETH/USDT"], "exchanges": ["okx"], "depth": 10});
    socket.send(&subscribe(wish)).await?;
    let mut books = 0;
    while books < 5 {
        let event = socket.event().await?;
        if event["type"] != "orderbook" {
            continue;
        }
        books += 1;
        ensure!(event["topic"] == "orderbook.okx.ETH-USDT.10" && event["depth"] == 10, "{event}");
        for side in ["bids", "asks"] {
            let levels = event[side].as_array().context("levels")?.len();
            ensure!(levels == 10, "the simulated book is deeper, but {levels} {side} came: {event}");
        }
    }
    Ok(())
}

/// What is under way may still come; then nothing does.
async fn silence(socket: &mut Socket) -> Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < deadline {
        match socket.next_within(Duration::from_millis(1_500)).await {
            Ok(Came::Frame(_)) => {}
            Ok(Came::Closed(code, reason)) => anyhow::bail!("closed with {code} {reason}"),
            Err(_) => return Ok(()),
        }
    }
    anyhow::bail!("events came for ten seconds after unsubscribe")
}

async fn tokens_are_checked(host: &Host) -> Result<()> {
    let created = aggregates(host, "SOL").await?;
    let url = ws_url(&created, "");
    let (base, token) = url.rsplit_once("token=").context("a token")?;
    host.refuses(&format!("{base}token={}x", &token[..token.len() - 2]), 401)
        .await
        .context("a forged token")?;
    host.refuses(base.trim_end_matches(['?', '&']), 401).await.context("no token")?;
    let path = format!("/v1/streams/{}/token", created["stream_id"].as_str().context("id")?);
    let (_, fresh) = host.api.post(&path, &json!({})).await?;
    let mut reader = host.read(&fresh, "").await?;
    reader.next().await.map(drop)
}

async fn figures_are_counted(host: &Host) -> Result<()> {
    let created = host.api.stream(TICKS).await?;
    let mut reader = host.read(&created, "&from=now-10s").await?;
    for _ in 0..20 {
        reader.next().await?;
    }
    let path = format!("/v1/streams/{}/metrics", created["stream_id"].as_str().context("id")?);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        let (status, figures) = host.api.get(&path).await?;
        ensure!(status == 200, "{status} {figures}");
        let counted = |field: &str| figures[field].as_u64().unwrap_or(0);
        if counted("msgs_in") >= 20 && counted("msgs_out") >= 20 && counted("latency_samples") > 0 {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < deadline, "{figures}");
        reader.next().await?;
    }
}

async fn a_deleted_stream_ends_for_all(host: &Host) -> Result<()> {
    let created = host.api.stream("ETH trades tick by tick").await?;
    let mut reader = host.read(&created, "").await?;
    let epoch = reader.next().await?["epoch"].clone();
    let path = format!("/v1/streams/{}", created["stream_id"].as_str().context("id")?);
    let (status, deleted) = host.api.request("DELETE", &path, &[], "").await?;
    ensure!(status == 200 && deleted["deleted"] == true, "{status} {deleted}");
    reader.ends(host.traits.ending).await?;
    host.refuses(&ws_url(&created, ""), 404).await.context("a token of a stream that has ended")?;
    ensure!(host.api.get(&path).await?.0 == 404, "a deleted stream is not found");
    let again = host.api.stream("ETH trades tick by tick").await?;
    let event = host.read(&again, "").await?.next().await?;
    ensure!(event["epoch"] != epoch, "a stream created again has a new epoch: {event}");
    Ok(())
}

/// Says something, and returns the `ack` or `error` that answers it. Meanwhile `seen` gets what else comes.
async fn ask(socket: &mut Socket, message: &Value, seen: &mut Vec<Value>) -> Result<Value> {
    socket.send(message).await?;
    loop {
        let came = socket.event().await?;
        if came["correlation_id"] == message["correlation_id"] && came["seq"].is_null() {
            return Ok(came);
        }
        seen.push(came);
    }
}

fn rate(topic: &str, id: usize) -> Value {
    json!({"type": "frequency", "topic": topic, "rate": "low", "correlation_id": id})
}

/// Reads until `topic` gave three events more, which come a second apart.
async fn comes_each_second(socket: &mut Socket, topic: &str) -> Result<()> {
    let mut came = Vec::new();
    while came.len() < 4 {
        let event = socket.event().await?;
        ensure!(event["type"] != "error", "{event}");
        if event["topic"] == topic && !event["seq"].is_null() {
            came.push(tokio::time::Instant::now());
        }
    }
    // The first may have gone before the rate was taken, and the network is no metronome.
    let apart = came[3].duration_since(came[1]);
    ensure!(apart > Duration::from_millis(1_500), "{topic}: two events in {apart:?} at one a second");
    Ok(())
}

async fn a_rate_outlives_a_new_subscription_that_takes_its_topic(host: &Host) -> Result<()> {
    let (mut socket, mut seen) = (host.feed("&control=true").await?, Vec::new());
    let slow = "ticker.binance.SOL-USDT";
    let wish = json!({"channels": ["ticker"], "symbols": ["SOL/USDT"], "exchanges": ["binance"], "correlation_id": 1});
    ask(&mut socket, &subscribe(wish), &mut seen).await?;
    let answer = ask(&mut socket, &rate(slow, 2), &mut seen).await?;
    ensure!(answer["type"] == "ack", "{answer}");
    let wider = json!({"channels": ["ticker"], "symbols": ["SOL/USDT", "BTC/USDT"], "exchanges": ["binance"], "correlation_id": 3});
    ask(&mut socket, &subscribe(wider), &mut seen).await?;
    comes_each_second(&mut socket, slow).await
}

/// Nobody else here asks for XRP, so that what is said of its topics is said before they run.
async fn what_is_said_of_a_topic_counts_once_it_runs(host: &Host) -> Result<()> {
    let (mut socket, mut seen) = (host.feed("&control=true").await?, Vec::new());
    let wish = json!({"channels": ["ticker", "trades"], "exchanges": ["okx"], "correlation_id": 1});
    ask(&mut socket, &subscribe(wish), &mut seen).await?;
    let (slow, moved) = ("ticker.okx.XRP-USDT", "trades.okx.XRP-USDT");
    let resume =
        json!({"type": "resume", "topic": moved, "epoch": "0000dead", "seq": 5, "correlation_id": 2});
    for message in [resume, rate(slow, 3)] {
        let answer = ask(&mut socket, &message, &mut seen).await?;
        ensure!(answer["type"] == "ack", "{answer}");
    }
    ensure!(
        seen.iter().all(|event| event["topic"] != slow && event["topic"] != moved),
        "it ran already: {seen:?}"
    );
    let market = json!({"type": "market", "symbols": ["XRP/USDT"], "channels": ["ticker", "trades"], "exchanges": ["okx"]});
    host.api.created(&json!({"spec": {"sources": [market]}})).await?;
    loop {
        let event = socket.event().await?;
        ensure!(event["topic"] != moved || event["type"] != "trade", "an event before the gap: {event}");
        if event["type"] == "gap" && event["topic"] == moved {
            break;
        }
    }
    comes_each_second(&mut socket, slow).await
}

async fn a_hundred_topics_have_a_rate(host: &Host) -> Result<()> {
    let (mut socket, mut seen) = (host.feed("&control=true").await?, Vec::new());
    let wish = json!({"channels": ["ticker"], "exchanges": ["okx"], "correlation_id": 1_000});
    ask(&mut socket, &subscribe(wish), &mut seen).await?;
    // Twenty messages a second are taken.
    let mut pace = tokio::time::interval(Duration::from_millis(60));
    for number in 0..=100 {
        pace.tick().await;
        let answer =
            ask(&mut socket, &rate(&format!("ticker.okx.A{number}-USDT"), number), &mut seen).await?;
        seen.clear();
        let refused = answer["type"] == "error" && answer["code"] == "LIMIT_EXCEEDED";
        ensure!(if number < 100 { answer["type"] == "ack" } else { refused }, "{number}: {answer}");
    }
    Ok(())
}
