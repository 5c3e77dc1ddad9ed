//! The past joins the present without a seam, and what cannot be had is announced.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::process::{Bond, ws_url};
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Gives about 1,000 trades of one symbol a second, over three venues.
const RATE: &str = "2000";

const SENTENCE: &str = "BTC trades tick by tick";

/// How far past the newest number at the time of the join a client reads.
const WELL_PAST: u64 = 300;

async fn busy() -> Result<(Bond, Value)> {
    let bond = Bond::up(&["--sim-rate", RATE], &[]).await?;
    let created = bond.stream(SENTENCE).await?;
    Ok((bond, created))
}

/// A client that stays, and shows how far the stream is.
async fn watch(created: &Value) -> Result<watch::Receiver<Numbers>> {
    let mut socket = Socket::open(&ws_url(created, "&from=now-60s")).await?;
    let (newest, watched) = watch::channel(Numbers::default());
    tokio::spawn(async move {
        while let Ok(Head { epoch: Some(epoch), seq: Some(last), .. }) = socket.head().await {
            if newest.send(Numbers { epoch, last }).is_err() {
                break;
            }
        }
    });
    Ok(watched)
}

async fn reached(watched: &mut watch::Receiver<Numbers>, seq: u64) -> Result<Numbers> {
    let waiting = watched.wait_for(|numbers| numbers.last >= seq);
    Ok(tokio::time::timeout(Duration::from_secs(30), waiting).await.context("too few events")??.clone())
}

#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Where one client of many begins.
#[derive(Clone, Copy, Debug)]
enum From {
    Everything,
    Seconds(u64),
    Unix,
    Position,
}

const FROMS: [From; 5] = [From::Everything, From::Seconds(5), From::Position, From::Unix, From::Seconds(1)];

/// Connects, and reads from the past until well past the moment of the join.
async fn join(url: String, from: From, watched: watch::Receiver<Numbers>) -> Result<()> {
    let known = watched.borrow().clone();
    let resumed = known.last.saturating_sub(700).max(1);
    let text = match from {
        From::Everything => "now-60s".to_owned(),
        From::Seconds(seconds) => format!("now-{seconds}s"),
        From::Unix => format!("{:.3}", unix_now() - 2.5),
        From::Position => Numbers { last: resumed, ..known.clone() }.position(),
    };
    let mut socket = Socket::open(&format!("{url}&from={text}")).await?;
    let end = watched.borrow().last + WELL_PAST;
    let first = next(&mut socket).await?;
    let begins = first.seq.unwrap_or_default();
    match from {
        From::Everything => ensure!(begins == 1, "{text} begins at {begins}"),
        From::Position => ensure!(begins == resumed + 1, "{text} begins at {begins}"),
        _ => ensure!(begins < known.last, "{text} begins at {begins}, not in the past of {}", known.last),
    }
    let mut numbers = Numbers::default();
    numbers.take(&first)?;
    while numbers.last < end {
        numbers.take(&next(&mut socket).await?).with_context(|| format!("from={text}"))?;
    }
    Ok(())
}

/// The next event, where nothing may be announced as missing.
async fn next(socket: &mut Socket) -> Result<Head> {
    loop {
        let head = Head::read(&socket.text().await?)?;
        ensure!(head.kind != "gap", "a gap");
        if head.is_event() {
            return Ok(head);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_joins_the_present_a_hundred_times_out_of_a_hundred() -> Result<()> {
    let (_bond, created) = busy().await?;
    let mut watched = watch(&created).await?;
    reached(&mut watched, 3_000).await?;
    let mut joins = JoinSet::new();
    for number in 0..100 {
        let (url, watched) = (ws_url(&created, ""), watched.clone());
        joins.spawn(join(url, FROMS[number % FROMS.len()], watched));
        // Ten at once, then one by one at odd moments.
        if number >= 10 {
            sleep(Duration::from_millis(20 + (number as u64 * 37) % 50)).await;
        }
    }
    while let Some(joined) = joins.join_next().await {
        joined??;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_keeps_losing_its_connection_misses_nothing() -> Result<()> {
    let (_bond, created) = busy().await?;
    let mut numbers = Numbers::default();
    for life in 0..20 {
        let from = if life == 0 { "now-60s".to_owned() } else { numbers.position() };
        let mut socket = Socket::open(&ws_url(&created, &format!("&from={from}"))).await?;
        for _ in 0..50 + life * 7 {
            numbers.take(&next(&mut socket).await?).with_context(|| format!("life {life}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_resume_message_goes_back_and_on_without_a_seam() -> Result<()> {
    let (_bond, created) = busy().await?;
    let mut socket = Socket::open(&ws_url(&created, "&from=now-60s")).await?;
    let mut numbers = Numbers::default();
    for _ in 0..200 {
        numbers.take(&socket.head().await?)?;
    }
    let (topic, epoch) =
        (format!("streams.{}", created["stream_id"].as_str().unwrap_or_default()), &numbers.epoch);
    socket
        .send(&json!({"type": "resume", "topic": topic, "epoch": epoch, "seq": 20, "correlation_id": 7}))
        .await?;
    let back = loop {
        let head = socket.head().await?;
        if head.seq <= Some(numbers.last) {
            break head;
        }
        numbers.take(&head)?;
    };
    assert_eq!(back.seq, Some(21));
    numbers.last = 21;
    for _ in 0..600 {
        numbers.take(&next(&mut socket).await?)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_ring_is_replayed_from_its_very_beginning() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", RATE], &[("BOND_RING_SECONDS", "2")]).await?;
    let created = bond.stream(SENTENCE).await?;
    let mut watched = watch(&created).await?;
    reached(&mut watched, 5_000).await?;
    for attempt in 0..40 {
        let mut socket = Socket::open(&ws_url(&created, "&control=true&from=now-60s")).await?;
        let mut numbers = Numbers::default();
        for _ in 0..20 {
            numbers.take(&next(&mut socket).await.with_context(|| format!("attempt {attempt}"))?)?;
        }
    }
    Ok(())
}

/// What a client that resumes gets first: its gap, and the event after it.
async fn resumed(url: &str, from: &str) -> Result<(Value, Head)> {
    let mut socket = Socket::open(&format!("{url}&from={from}")).await?;
    loop {
        let text = socket.text().await?;
        let gap: Value = serde_json::from_str(&text)?;
        ensure!(gap.get("seq").is_none(), "an event before the gap: {text}");
        if gap["type"] == "gap" {
            return Ok((gap, socket.head().await?));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_resumed_is_announced_first_and_to_the_number() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "600"], &[("BOND_RING_SECONDS", "1")]).await?;
    let created = bond.stream(SENTENCE).await?;
    let url = ws_url(&created, "");
    let mut socket = Socket::open(&ws_url(&created, "&from=now-1s")).await?;
    let begun = socket.head().await?;
    let epoch = begun.epoch.context("epoch")?;
    let until = begun.ts_event.context("ts_event")? + 3_000;
    while socket.head().await?.ts_event < Some(until) {}
    let topic = format!("streams.{}", created["stream_id"].as_str().unwrap_or_default());
    let cases = [
        (format!("{epoch}:3"), json!(4), "behind_ring"),
        ("1234567x9:3".to_owned(), Value::Null, "epoch_changed"),
        (format!("{epoch}:999999999"), Value::Null, "epoch_changed"),
    ];
    for (from, from_seq, reason) in cases {
        let (gap, next) = resumed(&url, &from).await?;
        let next_seq = next.seq.context("seq")?;
        let expected = json!({
            "type": "gap", "topic": topic, "epoch": epoch,
            "from_seq": from_seq, "to_seq": next_seq - 1, "reason": reason,
        });
        assert_eq!(gap, expected, "from={from}");
        assert_eq!(next.epoch.as_ref(), Some(&epoch));
    }
    Ok(())
}

#[tokio::test]
async fn an_unreadable_from_begins_live_and_says_so_where_asked() -> Result<()> {
    let (_bond, created) = busy().await?;
    let mut watched = watch(&created).await?;
    let newest = reached(&mut watched, 1_000).await?.last;
    for unreadable in ["yesterday", "now-1y", "abc:def", "-5", "now-"] {
        let mut loud = Socket::open(&ws_url(&created, &format!("&control=true&from={unreadable}"))).await?;
        let error = loud.event_of("error").await?;
        assert_eq!((&error["code"], &error["retryable"]), (&json!("INVALID_MESSAGE"), &json!(false)));
        assert!(error["message"].as_str().is_some_and(|m| m.contains(unreadable)), "{error}");
        assert!(loud.head().await?.seq > Some(newest), "not live");
        let mut quiet = Socket::open(&ws_url(&created, &format!("&from={unreadable}"))).await?;
        let first = quiet.text().await?;
        assert!(Head::read(&first)?.seq > Some(newest), "not an event, or not live: {first}");
    }
    Ok(())
}
