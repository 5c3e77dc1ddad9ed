//! What every host must do with topics of one's own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::api::Api;
use bond_e2e::host::{Host, jwt};
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long a host that works needs at most for anything here.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every message of a connection to topics has.
const ENVELOPE: [&str; 8] = ["type", "topic", "epoch", "seq", "ts", "payload", "meta", "correlation_id"];

/// Runs every scenario, each on topics of its own.
pub(super) async fn run(host: &Host) -> Result<()> {
    let Some(url) = &host.topics_url else { return Ok(()) };
    let publisher = Api::open(host.api.rest.clone())?.with_key(jwt("team", &["--publish", ">"]).await?);
    let case = Case { host, url, publisher };
    /// Names the scenario in what it fails with.
    macro_rules! scenarios {
        ($($name:ident),* $(,)?) => {
            $(
                let begun = Instant::now();
                $name(&case).await.with_context(|| format!("{}: {}", host.traits.name, stringify!($name)))?;
                println!("{}: {} in {:.1} s", host.traits.name, stringify!($name), begun.elapsed().as_secs_f64());
            )*
        };
    }
    scenarios![
        the_state_comes_first_and_then_what_is_published,
        a_resume_is_followed_by_the_next_number_or_a_gap_and_the_state,
        what_was_unsubscribed_is_over_and_subtopics_narrow,
        the_background_thins_and_loses_nothing,
        three_hundred_pings_have_three_hundred_answers,
        a_family_has_a_limit_and_says_when_it_is_over,
        whoever_may_not_is_refused,
    ];
    Ok(())
}

struct Case<'a> {
    host: &'a Host,
    url: &'a str,
    publisher: Api,
}

/// A topic that no other scenario uses.
fn topic() -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    format!("prices.T{}", USED.fetch_add(1, Ordering::Relaxed))
}

impl Case<'_> {
    async fn open(&self, user: &str, query: &str) -> Result<Socket> {
        Socket::open(&format!("{}token={}{query}", self.url, jwt(user, &[]).await?)).await
    }

    async fn publish(&self, topic: &str, events: Value) -> Result<u64> {
        let path = format!("/v1/topics/{topic}/events");
        let (status, answer) = self.publisher.post(&path, &json!({"events": events})).await?;
        ensure!(status == 200, "{status} {answer}");
        answer["last_seq"].as_u64().context("no last_seq")
    }

    /// Publishes one delta for each number.
    async fn count(&self, topic: &str, numbers: std::ops::RangeInclusive<u64>) -> Result<()> {
        let events: Vec<Value> =
            numbers.map(|n| json!({"payload": {"n": n, (format!("k{n}")): true}})).collect();
        self.publish(topic, json!(events)).await.map(drop)
    }

    async fn snapshot(&self, topic: &str) -> Result<Value> {
        let (status, answer) = self.publisher.get(&format!("/v1/topics/{topic}/snapshot")).await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(answer)
    }
}

/// The next message but heartbeats, in an envelope.
async fn next(socket: &mut Socket) -> Result<Value> {
    loop {
        let message = socket.event().await?;
        ensure!(ENVELOPE.iter().all(|member| message.get(member).is_some()), "no envelope: {message}");
        if message["type"] != "heartbeat" {
            return Ok(message);
        }
    }
}

/// Reads messages, which are to be these, as `type:seq`.
async fn expect(socket: &mut Socket, expected: &[&str]) -> Result<()> {
    for wanted in expected {
        let message = next(socket).await?;
        let told = format!("{}:{}", message["type"].as_str().unwrap_or_default(), message["seq"]);
        ensure!(told == *wanted, "{wanted} was to come: {message}");
    }
    Ok(())
}

async fn the_state_comes_first_and_then_what_is_published(case: &Case<'_>) -> Result<()> {
    let topic = topic();
    case.count(&topic, 1..=3).await?;
    let mut socket = case.open("u1", &format!("&topic={topic}")).await?;
    let first = next(&mut socket).await?;
    ensure!(first["type"] == "snapshot" && first["seq"] == 3 && first["payload"]["k2"] == true, "{first}");
    ensure!(first["meta"] == json!({"synthetic": true}), "{first}");
    case.count(&topic, 4..=5).await?;
    expect(&mut socket, &["delta:4", "delta:5"]).await?;
    socket.send(&json!({"type": "subscribe", "topic": topic, "correlation_id": "c"})).await?;
    let ack = next(&mut socket).await?;
    ensure!(ack["type"] == "ack" && ack["seq"] == 5 && ack["correlation_id"] == "c", "{ack}");
    ensure!(ack["sequence_number"] == 5 && ack["rate_limits"]["burst"] == 1000, "{ack}");
    case.count(&topic, 6..=6).await?;
    expect(&mut socket, &["delta:6"]).await
}

async fn a_resume_is_followed_by_the_next_number_or_a_gap_and_the_state(case: &Case<'_>) -> Result<()> {
    let topic = topic();
    case.count(&topic, 1..=9).await?;
    let epoch = case.snapshot(&topic).await?["epoch"].clone();
    for (place, expected) in [
        (json!({"resume_from_seq": 7}), &["ack:7", "delta:8", "delta:9"][..]),
        (json!({"resume_from_seq": 8, "epoch": epoch}), &["ack:8", "delta:9"]),
        (json!({"resume_from_seq": 9}), &["ack:9"]),
        (json!({"resume_from_seq": 12345}), &["ack:9", "gap:9", "snapshot:9"]),
        (json!({"resume_from_seq": 3, "epoch": "0000dead"}), &["ack:9", "gap:9", "snapshot:9"]),
        (json!({"rewind": 2}), &["ack:7", "delta:8", "delta:9"]),
    ] {
        let mut socket = case.open("u1", "&topic=").await?;
        let mut message = json!({"type": "subscribe", "topic": topic});
        message.as_object_mut().context("object")?.extend(place.as_object().context("object")?.clone());
        socket.send(&message).await?;
        expect(&mut socket, expected).await.with_context(|| place.to_string())?;
    }
    case.count(&topic, 10..=10).await?;
    let mut socket = case.open("u1", &format!("&topic={topic}&resume_from_seq=8")).await?;
    expect(&mut socket, &["delta:9", "delta:10"]).await
}

async fn what_was_unsubscribed_is_over_and_subtopics_narrow(case: &Case<'_>) -> Result<()> {
    let (first, second) = (topic(), topic());
    let mut socket = case.open("u1", "&topic=").await?;
    socket.send(&json!({"type": "subscribe", "topic": first, "subtopics": {"levels": "L1"}})).await?;
    expect(&mut socket, &["ack:0"]).await?;
    let marked = |mark: &str| json!({"payload": {"m": mark}, "meta": {"subtopic": mark}});
    let alert = json!({"type": "alert", "payload": {"loud": true}, "meta": {"subtopic": "L9"}});
    case.publish(
        &first,
        json!([marked("L1"), marked("L2"), {"payload": {"m": 3}}, alert, marked("L2"), marked("L1")]),
    )
    .await?;
    expect(&mut socket, &["delta:1", "delta:3", "alert:4", "delta:6"]).await?;
    socket.send(&json!({"type": "subscribe", "topic": second})).await?;
    expect(&mut socket, &["ack:0"]).await?;
    socket.send(&json!({"type": "unsubscribe", "topic": first})).await?;
    expect(&mut socket, &["ack:6"]).await?;
    case.count(&first, 7..=9).await?;
    case.count(&second, 1..=1).await?;
    let message = next(&mut socket).await?;
    ensure!(message["topic"] == json!(second) && message["seq"] == 1, "after the ack: {message}");
    Ok(())
}

async fn the_background_thins_and_loses_nothing(case: &Case<'_>) -> Result<()> {
    let topic = topic();
    let mut socket = case.open("u1", &format!("&topic={topic}&background=true")).await?;
    sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    let mut published = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        published += 1;
        case.count(&topic, published..=published).await?;
        sleep(Duration::from_millis(50)).await;
    }
    let last = case.publish(&topic, json!([{"type": "alert", "payload": {"loud": true}}])).await?;
    let loud = Instant::now();
    let (mut state, mut messages) = (json!({}), 0);
    loop {
        let message = next(&mut socket).await?;
        messages += 1;
        match message["type"].as_str() {
            Some("snapshot") => state = message["payload"].clone(),
            Some("delta") => {
                state
                    .as_object_mut()
                    .context("object")?
                    .extend(message["payload"].as_object().context("object")?.clone());
            }
            Some("alert") => break,
            _ => bail!("{message}"),
        }
    }
    ensure!(loud.elapsed() < Duration::from_secs(4), "an alert waits: {:?}", loud.elapsed());
    ensure!(messages <= 6, "{messages} messages of {published} events");
    ensure!(state == case.snapshot(&topic).await?["payload"], "the state is whole before the alert: {state}");
    socket.send(&json!({"type": "background_mode", "enabled": false})).await?;
    let ack = next(&mut socket).await?;
    ensure!(ack["type"] == "ack" && ack["action"] == "background_mode" && ack["topic"] == "system", "{ack}");
    // The change reaches whoever sends behind the answer.
    sleep(Duration::from_millis(500)).await;
    for n in last + 1..=last + 10 {
        case.count(&topic, n..=n).await?;
        sleep(Duration::from_millis(100)).await;
    }
    let mut seen = 0;
    while seen < last + 10 {
        let message = next(&mut socket).await?;
        ensure!(message["type"] != "gap", "{message}");
        seen = message["seq"].as_u64().context("seq")?;
    }
    ensure!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    Ok(())
}

async fn three_hundred_pings_have_three_hundred_answers(case: &Case<'_>) -> Result<()> {
    let mut socket = case.open("u1", "&topic=").await?;
    for n in 0..300 {
        socket.send(&json!({"type": "ping", "correlation_id": n})).await?;
    }
    for n in 0..300 {
        let pong = socket.event_of("pong").await?;
        ensure!(case.host.traits.mock_pong || pong["correlation_id"] == n, "{pong}");
    }
    Ok(())
}

async fn a_family_has_a_limit_and_says_when_it_is_over(case: &Case<'_>) -> Result<()> {
    let mut socket = case.open("u7", "&topic=").await?;
    let subscribe = json!({"type": "subscribe", "topic": "risk.u7"});
    let mut taken = 0;
    let refused = loop {
        socket.send(&subscribe).await?;
        let answer = next(&mut socket).await?;
        if answer["type"] == "error" {
            break answer;
        }
        taken += 1;
        ensure!(taken < 200, "no end");
    };
    // Some of it is paid off meanwhile, one in six seconds.
    ensure!((100..=110).contains(&taken), "{taken} were taken");
    ensure!(
        refused["code"] == "RATE_LIMIT_EXCEEDED" && refused["error"] == "Rate limit exceeded",
        "{refused}"
    );
    let wait = refused["details"]["retry_after_ms"].as_u64().context("no time")?;
    ensure!((1..=6_000).contains(&wait), "{refused}");
    sleep(Duration::from_millis(wait + 200)).await;
    socket.send(&subscribe).await?;
    let taken = next(&mut socket).await?;
    ensure!(taken["type"] == "ack", "{taken}");
    Ok(())
}

async fn whoever_may_not_is_refused(case: &Case<'_>) -> Result<()> {
    let (topic, good) = (topic(), jwt("u1", &[]).await?);
    let other = jwt("u1", &["--topics", "auctions.>"]).await?;
    let altered = format!("{}x", &good[..good.len() - 1]);
    case.host.refuses(&format!("{}topic={topic}&token={altered}", case.url), 401).await?;
    case.host.refuses(&format!("{}topic={topic}&token=none", case.url), 401).await?;
    let mut socket = Socket::open(&format!("{}topic=&token={other}", case.url)).await?;
    socket.send(&json!({"type": "subscribe", "topic": topic, "correlation_id": 1})).await?;
    let error = next(&mut socket).await?;
    ensure!(error["code"] == "FORBIDDEN" && error["details"]["topic"] == json!(topic), "{error}");
    ensure!(error["correlation_id"] == 1, "{error}");
    Ok(())
}
