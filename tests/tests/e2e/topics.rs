//! Topics by name, followed by clients that come again: whatever ends, nothing is missing in silence, and the state is whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::process::Bond;
use bond_e2e::redis::Redis;
use bond_e2e::socket::{Came, Socket};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const TOPICS: [&str; 2] = ["prices.X", "risk.u1.alerts"];

const SETTINGS: [(&str, &str); 2] =
    [("BOND_SECRET", "of-both-processes-of-this-test-0123"), ("BOND_REST_PER_SECOND", "10000")];

/// How long everything may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(40);

/// RFC 7396, as its text says.
fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut members = if let Value::Object(members) = target { members } else { Map::new() };
    for (key, change) in changes {
        if change.is_null() {
            members.remove(key);
        } else {
            let before = members.remove(key).unwrap_or(Value::Null);
            members.insert(key.clone(), merge_patch(before, change));
        }
    }
    Value::Object(members)
}

/// What a client knows of one topic.
#[derive(Debug, Default)]
struct Followed {
    epoch: Option<String>,
    seq: u64,
    state: Value,
    /// Whether numbers may be missing up to the next snapshot, since a gap said so.
    is_behind: bool,
}

impl Followed {
    fn take(&mut self, message: &Value) -> Result<()> {
        let seq = message["seq"].as_u64().context("a number")?;
        let epoch = message["epoch"].as_str().map(str::to_owned);
        match message["type"].as_str().unwrap_or_default() {
            "gap" => {
                // A history that begins here has no state before its first event.
                self.is_behind = seq > 0;
                self.state = if seq == 0 { Value::Null } else { self.state.take() };
                (self.epoch, self.seq) = (epoch, seq);
            }
            "snapshot" if message["meta"]["synthetic"] == true => {
                ensure!(
                    self.is_behind || self.seq == seq || self.epoch.is_none(),
                    "{self:?} before {message}"
                );
                (self.epoch, self.seq, self.is_behind) = (epoch, seq, false);
                self.state = message["payload"].clone();
            }
            "snapshot" | "delta" | "alert" => self.event(seq, epoch, message)?,
            _ => {}
        }
        Ok(())
    }

    fn event(&mut self, seq: u64, epoch: Option<String>, message: &Value) -> Result<()> {
        ensure!(
            self.epoch.is_none() || self.epoch == epoch,
            "another epoch without a gap: {self:?}, {message}"
        );
        ensure!(seq == self.seq + 1, "{message} after {self:?}");
        (self.epoch, self.seq) = (epoch, seq);
        match message["type"].as_str() {
            Some("snapshot") => self.state = message["payload"].clone(),
            Some("delta") => self.state = merge_patch(std::mem::take(&mut self.state), &message["payload"]),
            _ => {}
        }
        Ok(())
    }
}

/// A client of two topics that comes again, to one edge after the other.
struct Reader {
    edges: Vec<String>,
    turn: usize,
    topics: BTreeMap<&'static str, Followed>,
}

impl Reader {
    async fn read_until(
        mut self,
        ends: Arc<AtomicBool>,
        last: Arc<[AtomicUsize; 2]>,
    ) -> Result<BTreeMap<&'static str, Followed>> {
        let deadline = Instant::now() + 3 * PATIENCE;
        while !self.is_done(&ends, &last) {
            ensure!(Instant::now() < deadline, "not at the end: {:?}", self.topics);
            let url = format!("{}/ws", self.edges[self.turn % self.edges.len()]);
            self.turn += 1;
            let Ok(mut socket) = Socket::open(&url).await else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            self.follow(&mut socket, &ends, &last).await?;
        }
        Ok(self.topics)
    }

    fn is_done(&self, ends: &AtomicBool, last: &[AtomicUsize; 2]) -> bool {
        let is_at = |(topic, last): (&&str, &AtomicUsize)| {
            self.topics[*topic].state["n"] == last.load(Ordering::Acquire) && !self.topics[*topic].is_behind
        };
        ends.load(Ordering::Acquire) && TOPICS.iter().zip(last).all(is_at)
    }

    /// Reads until the connection ends, or everything has come.
    async fn follow(
        &mut self,
        socket: &mut Socket,
        ends: &AtomicBool,
        last: &[AtomicUsize; 2],
    ) -> Result<()> {
        for (topic, followed) in &self.topics {
            let mut subscribe = json!({"type": "subscribe", "topic": topic});
            if let Some(epoch) = &followed.epoch {
                subscribe["epoch"] = json!(epoch);
                subscribe["resume_from_seq"] = json!(followed.seq);
            }
            if socket.send(&subscribe).await.is_err() {
                return Ok(());
            }
        }
        while !self.is_done(ends, last) {
            let text = match socket.next_within(Duration::from_secs(2)).await {
                Ok(Came::Frame(text)) => text,
                Ok(Came::Closed(code, reason)) if code == 4000 || code == 1005 => {
                    ensure!(!reason.contains("AUTH"), "{reason}");
                    return Ok(());
                }
                Ok(Came::Closed(code, reason)) => bail!("closed with {code} {reason}"),
                Err(_) => return Ok(()),
            };
            let message: Value = serde_json::from_str(&text)?;
            if let Some(followed) = message["topic"].as_str().and_then(|topic| self.topics.get_mut(topic)) {
                followed.take(&message)?;
            }
        }
        Ok(())
    }
}

/// Publishes one event after the other, each insisted on under its key, until told to end.
async fn publish(edges: Vec<String>, ends: Arc<AtomicBool>, last: Arc<[AtomicUsize; 2]>) -> Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(4)).build()?;
    let mut turn = 0;
    for n in 1.. {
        for (topic, last) in TOPICS.iter().zip(last.iter()) {
            let body = json!({"events": [{"payload": {"n": n, format!("k{}", n % 7): n, format!("k{}", (n + 3) % 7): null}}]});
            let deadline = Instant::now() + PATIENCE;
            loop {
                let url = format!("{}/v1/topics/{topic}/events", edges[turn % edges.len()]);
                let sent =
                    client.post(&url).header("idempotency-key", n.to_string()).json(&body).send().await;
                if sent.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                ensure!(Instant::now() < deadline, "{topic} takes no event {n}");
                turn += 1;
                sleep(Duration::from_millis(100)).await;
            }
            last.store(n, Ordering::Release);
        }
        if ends.load(Ordering::Acquire) {
            return Ok(());
        }
    }
    Ok(())
}

fn of_http(bond: &Bond) -> String {
    bond.rest.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_come_again_miss_nothing_in_silence_whatever_is_killed() -> Result<()> {
    let mut redis = Redis::start().await?;
    let url = redis.url();
    let arguments = ["--redis", url.as_str(), "--sim-rate", "1"];
    let leader = Bond::up(&arguments, &SETTINGS).await?;
    leader.is_ready().await?;
    let follower = Bond::up(&arguments, &SETTINGS).await?;
    let edge = Bond::edge(&url, &SETTINGS).await?;
    edge.is_ready().await?;
    let (is_enough, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let last = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    // Ours that stays, and one that is killed.
    let sockets = vec![follower.ws.clone(), edge.ws.clone()];
    let mut readers = JoinSet::new();
    for turn in 0..50 {
        let topics = TOPICS.map(|topic| (topic, Followed::default())).into();
        let reader = Reader { edges: sockets.clone(), turn, topics };
        readers.spawn(reader.read_until(Arc::clone(&ends), Arc::clone(&last)));
    }
    let publishing = {
        let (is_enough, last) = (Arc::clone(&is_enough), Arc::clone(&last));
        let edges = vec![of_http(&follower), of_http(&edge)];
        tokio::spawn(publish(edges, is_enough, last))
    };
    let has_come_to = async |least: usize| -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while last[1].load(Ordering::Acquire) < least {
            ensure!(Instant::now() < deadline, "publishing stands still");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    has_come_to(20).await?;
    edge.signal("KILL").await?;
    has_come_to(last[1].load(Ordering::Acquire) + 20).await?;
    leader.signal("KILL").await?;
    has_come_to(last[1].load(Ordering::Acquire) + 20).await?;
    redis.restart().await?;
    has_come_to(last[1].load(Ordering::Acquire) + 20).await?;
    is_enough.store(true, Ordering::Release);
    publishing.await??;
    ends.store(true, Ordering::Release);
    let mut seen = Vec::new();
    while let Some(reader) = readers.join_next().await {
        seen.push(reader??);
    }
    for topic in TOPICS {
        let (_, found) = follower.get(&format!("/v1/topics/{topic}/snapshot")).await?;
        for topics in &seen {
            let followed = &topics[topic];
            ensure!(
                followed.state == found["payload"] && found["seq"] == followed.seq,
                "{followed:?} and {found}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_outlives_its_subscribers_and_ends_by_a_delete() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "1"], &[("BOND_RING_SECONDS", "1")]).await?;
    let body = json!({"events": [{"payload": {"bid": 1}}]});
    let (_, first) = bond.post("/v1/topics/prices.X/events", &body).await?;
    let url = format!("{}/ws?topic=prices.X", bond.ws);
    let mut socket = Socket::open(&url).await?;
    ensure!(socket.event().await?["seq"] == 1);
    drop(socket);
    sleep(Duration::from_secs(3)).await;
    let mut socket = Socket::open(&url).await?;
    let snapshot = socket.event().await?;
    ensure!(snapshot["type"] == "snapshot" && snapshot["payload"]["bid"] == 1, "{snapshot}");
    let gone = bond.send("DELETE", "/v1/topics/prices.X", &[], "").await?;
    ensure!(gone.status() == 204);
    ensure!(socket.event().await?["state"] == "ended");
    let (_, next) = bond.post("/v1/topics/prices.X/events", &body).await?;
    ensure!(next["first_seq"] == 1 && next["epoch"] != first["epoch"], "{next} after {first}");
    ensure!(socket.event_of("delta").await?["epoch"] == next["epoch"]);
    Ok(())
}
