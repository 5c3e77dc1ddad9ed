//! A client that keeps everything it is sent, so that a test can ask what came after what.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bond_e2e::socket::{Came, Socket};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How long what must come may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Time is counted in these: while the machine does not let this process run, none passes.
const TICK: Duration = Duration::from_millis(20);

/// Everything that came on one connection.
pub(super) struct Watch {
    seen: watch::Receiver<Vec<Arc<Value>>>,
    reader: JoinHandle<()>,
}

/// A place between messages: so many had come.
pub(super) type Mark = usize;

impl Watch {
    /// Connects, says `first` if there is something to say, and keeps what comes.
    pub(super) async fn open(url: &str, first: Option<&Value>) -> Result<Self> {
        let mut socket = Socket::open(url).await?;
        if let Some(first) = first {
            socket.send(first).await?;
        }
        let (keep, seen) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            while let Ok(Came::Frame(text)) = socket.next_within(PATIENCE * 2).await {
                let message = Arc::new(serde_json::from_str(&text).expect("JSON"));
                keep.send_modify(|seen: &mut Vec<Arc<Value>>| seen.push(message));
            }
        });
        Ok(Self { seen, reader })
    }

    /// Here.
    pub(super) fn mark(&self) -> Mark {
        self.seen.borrow().len()
    }

    /// What came after `mark`.
    pub(super) fn since(&self, mark: Mark) -> Vec<Arc<Value>> {
        self.seen.borrow()[mark..].to_vec()
    }

    /// The first message after `mark` that is `wanted`, past or to come, and the place after it.
    pub(super) async fn find(
        &self,
        mark: Mark,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(Mark, Arc<Value>)> {
        let mut seen = self.seen.clone();
        let mut next = mark;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = within.as_millis() / TICK.as_millis();
        loop {
            let found = {
                let messages = seen.borrow_and_update();
                let found = messages[next..].iter().position(|message| wanted(message));
                let found = found.map(|at| (next + at + 1, Arc::clone(&messages[next + at])));
                next = messages.len();
                found
            };
            if let Some(found) = found {
                return Ok(found);
            }
            tokio::select! {
                news = seen.changed() => news?,
                _ = ticks.tick() => left = left.saturating_sub(1),
            }
            ensure!(left > 0, "{what}: not within {within:?}; {}", self.account(mark));
        }
    }

    /// What came instead: the last words about sources, and how many messages there were.
    fn account(&self, mark: Mark) -> String {
        let since = self.since(mark);
        let told: Vec<_> = since.iter().filter(|m| m["type"] == "status").map(|m| told(m)).collect();
        format!("of {} messages the statuses were: {}", since.len(), told.join("; "))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn told(status: &Value) -> String {
    let word = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    format!("{} {} {} ({}) {}", word("topic"), word("source"), word("state"), word("reason"), status["lost"])
}

/// Whether a message is an event of `topic`.
pub(super) fn is_event(message: &Value, topic: &str) -> bool {
    message["topic"] == topic && message["seq"].is_u64() && message["type"] != "status"
}

/// Whether a message says that a source of `topic` is in `state`.
pub(super) fn is_status(message: &Value, topic: &str, state: &str) -> bool {
    message["type"] == "status" && message["topic"] == topic && message["state"] == state
}
