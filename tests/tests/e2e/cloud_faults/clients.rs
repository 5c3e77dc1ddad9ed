//! Clients that read side by side and check what they read: no hole that no gap declares, windows that follow each other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::Cloud;
use bond_e2e::host::subscribe;
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long what must come may take: a lease and its margins on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The epoch of each topic.
pub(super) type Epochs = BTreeMap<String, String>;

/// What a client has read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Where it is, by topic.
    pub(super) numbers: BTreeMap<String, Numbers>,
    /// Events that were new.
    pub(super) events: usize,
    /// Events that it had read before.
    pub(super) repeats: usize,
    /// Gaps that were declared.
    pub(super) gaps: Vec<Value>,
    /// The first event.
    pub(super) first: Option<Head>,
    /// The latest event that was new.
    pub(super) latest: Option<Head>,
    /// The end of the last window, by topic.
    windows: BTreeMap<String, Value>,
}

/// A client that reads all the time.
pub(super) struct Client {
    /// Its name in reports.
    pub(super) name: String,
    seen: watch::Receiver<Seen>,
    reading: JoinHandle<Result<()>>,
}

impl Client {
    /// Connects with control on and reads.
    pub(super) async fn open(name: &str, url: &str, wish: Option<Value>) -> Result<Self> {
        let mut socket = Socket::open(&format!("{url}&control=true")).await?;
        if let Some(wish) = wish {
            socket.send(&subscribe(wish)).await?;
        }
        let (keep, seen) = watch::channel(Seen::default());
        let reading = tokio::spawn(async move { read(socket, &keep).await });
        Ok(Self { name: name.to_owned(), seen, reading })
    }

    /// Waits until what was read is as wanted.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Seen) -> bool) -> Result<()> {
        let waited = timeout(PATIENCE, self.seen.wait_for(wanted)).await.map(|seen| seen.map(drop));
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => match (&mut self.reading).await? {
                Ok(()) => bail!("{} has ended", self.name),
                Err(error) => Err(error.context(self.name.clone())),
            },
            Err(_) => bail!("{} waits in vain: {:?}", self.name, self.seen.borrow()),
        }
    }

    /// Reads `count` events more.
    pub(super) async fn more(&mut self, count: usize) -> Result<()> {
        let until = self.seen.borrow().events + count;
        self.until(|seen| seen.events >= until).await
    }

    /// Its first event.
    pub(super) fn first(&self) -> Result<Head> {
        self.seen().first.clone().context("it has begun")
    }

    /// What it has read.
    pub(super) fn seen(&self) -> watch::Ref<'_, Seen> {
        self.seen.borrow()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut socket: Socket, keep: &watch::Sender<Seen>) -> Result<()> {
    loop {
        let text = socket.text().await?;
        let messages: Value = serde_json::from_str(&text)?;
        let messages = if messages.is_array() { messages } else { json!([messages]) };
        let mut taken = Ok(());
        keep.send_modify(|seen| {
            let messages = messages.as_array().into_iter().flatten();
            taken = messages.into_iter().try_for_each(|message| seen.take(message));
        });
        taken?;
    }
}

impl Seen {
    fn take(&mut self, message: &Value) -> Result<()> {
        match message["type"].as_str() {
            Some("gap") => self.take_gap(message),
            Some("error") => bail!("an error: {message}"),
            _ if message["seq"].is_u64() => self.take_event(message).with_context(|| message.to_string()),
            _ => Ok(()),
        }
    }

    /// What a gap declares is passed: it begins where the client is, or before.
    fn take_gap(&mut self, gap: &Value) -> Result<()> {
        let known = self.numbers.entry(topic(gap)?).or_default();
        let (epoch, to) =
            (gap["epoch"].as_str().context("epoch")?, gap["to_seq"].as_u64().context("to_seq")?);
        if epoch == known.epoch {
            let from = gap["from_seq"].as_u64().unwrap_or(0);
            ensure!(
                from <= known.last + 1,
                "a gap that leaves a hole before it, after {}: {gap}",
                known.last
            );
            known.last = known.last.max(to);
        } else {
            *known = Numbers { epoch: epoch.to_owned(), last: to };
        }
        self.gaps.push(gap.clone());
        Ok(())
    }

    fn take_event(&mut self, event: &Value) -> Result<()> {
        let (topic, head) = (topic(event)?, Head::read(&event.to_string())?);
        let known = self.numbers.entry(topic.clone()).or_default();
        // The first event after a gap to the beginning of a new epoch is number 1.
        let is_first = known.last == 0 && !known.epoch.is_empty();
        ensure!(!is_first || head.seq == Some(1), "after a gap to the beginning of {}", known.epoch);
        if !known.take_once(&head)? {
            self.repeats += 1;
            return Ok(());
        }
        self.events += 1;
        self.first.get_or_insert_with(|| head.clone());
        self.latest = Some(head);
        self.take_window(&topic, event)
    }

    /// Within an epoch windows follow each other.
    fn take_window(&mut self, topic: &str, event: &Value) -> Result<()> {
        if event["type"] != "aggregate" {
            return Ok(());
        }
        let key = format!("{topic} {} {}", event["epoch"], event["symbol"]);
        let before = self.windows.insert(key, event["window_end"].clone());
        ensure!(before.is_none_or(|end| end == event["window_start"]), "does not follow the window before");
        Ok(())
    }

    /// Where it is in the topic that it reads.
    pub(super) fn position(&self) -> Result<Numbers> {
        self.numbers.values().next().cloned().context("it has begun")
    }

    /// The epochs it has come to, by topic.
    fn epochs(&self) -> Epochs {
        self.numbers.iter().map(|(topic, numbers)| (topic.clone(), numbers.epoch.clone())).collect()
    }
}

fn topic(message: &Value) -> Result<String> {
    Ok(message["topic"].as_str().with_context(|| message.to_string())?.to_owned())
}

/// Clients of several kinds on several lanes.
pub(super) struct Clients(pub(super) Vec<Client>);

impl Clients {
    /// Ticks one by one and in batches, windows of two symbols, and a feed of six topics.
    pub(super) async fn open(cloud: &Cloud) -> Result<Self> {
        let ticks = ws_url(&cloud.api.stream("BTC trades tick by tick").await?, "");
        let windows = json!({"interval_sec": 0.5, "sources": [
            {"type": "market", "symbols": ["BTC/USDT", "ETH/USDT"], "channels": ["trades"]},
        ]});
        let windows = ws_url(&cloud.api.stream_of(windows).await?, "");
        let mut clients = Vec::new();
        for number in 0..3 {
            clients.push(Client::open(&format!("ticks {number}"), &ticks, None).await?);
            let batched = format!("{ticks}&batch=20&wait_ms=100");
            clients.push(Client::open(&format!("batches {number}"), &batched, None).await?);
        }
        clients.push(Client::open("windows", &windows, None).await?);
        let wish = json!({"channels": ["trades"], "symbols": ["BTC/USDT", "SOL/USDT"]});
        let feed = format!("{}&token={}", cloud.feed_url(), cloud.api.feed_token().await?);
        clients.push(Client::open("feed", &feed, Some(wish)).await?);
        let mut clients = Self(clients);
        clients.all(20, 3).await?;
        Ok(clients)
    }

    /// All go on reading from here: that many events each, and that many windows.
    pub(super) async fn all(&mut self, events: usize, windows: usize) -> Result<()> {
        let wanted = |client: &Client| if client.name == "windows" { windows } else { events };
        let until: Vec<usize> = self.0.iter().map(|client| client.seen().events + wanted(client)).collect();
        for (client, until) in self.0.iter_mut().zip(until) {
            client.until(|seen| seen.events >= until).await?;
        }
        Ok(())
    }

    /// That nothing was left out, declared or not.
    pub(super) fn have_everything(&self) -> Result<()> {
        for client in &self.0 {
            let seen = client.seen();
            ensure!(seen.gaps.is_empty(), "{}: {:?}", client.name, seen.gaps);
        }
        Ok(())
    }

    /// How many events came again, in all.
    pub(super) fn repeats(&self) -> usize {
        self.0.iter().map(|client| client.seen().repeats).sum()
    }

    /// The epochs of each.
    pub(super) fn epochs(&self) -> Vec<Epochs> {
        self.0.iter().map(|client| client.seen().epochs()).collect()
    }

    /// That every topic is in the epoch that it was in, or that none is.
    pub(super) fn went_on(&self, before: &[Epochs], in_the_same: bool) -> Result<()> {
        for (client, before) in self.0.iter().zip(before) {
            let now = client.seen().epochs();
            let is_as_wanted = before.iter().all(|(topic, epoch)| (now[topic] == *epoch) == in_the_same);
            ensure!(is_as_wanted, "{}: {before:?} and then {now:?}", client.name);
        }
        Ok(())
    }
}
