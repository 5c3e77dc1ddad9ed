//! A publisher beside the writer: over the stream, with the answer in a channel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bond_core::publish::{PublishError, PublishRequest, PublishedAt, Publisher};
use bond_core::topic::PublishedTopic;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::config::Server;
use fred::types::{Message, Value};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, timeout};

use super::STREAM;
use super::entry::{PublishAnswer, PublishReply, ReplyTo, Wanted, write};
use crate::client::{Redis, close};
use crate::script::Script;

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(2);

/// After which time it is checked again that the channel is listened to.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// The most entries that may wait in the stream.
const MOST_ENTRIES: u32 = 100_000;

/// Adds an entry unless there are too many. KEYS: stream. ARGV: the most, then the fields.
static ADD: Script = Script::new(
    "if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return false end
    return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))",
);

/// A [`Publisher`] that has whoever holds the lease publish.
pub struct RedisPublisher {
    redis: Redis,
    channel: String,
    next: AtomicU64,
    /// Opened when it is first needed.
    listener: Mutex<Option<Listener>>,
}

/// The connection on which answers come.
struct Listener {
    client: Client,
    runtime: Handle,
    reconnections: Receiver<Server>,
    /// When Redis last said that the channel is listened to.
    checked: Option<Instant>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        close(&self.runtime, self.client.clone());
    }
}

impl RedisPublisher {
    /// A publisher of the process `name`, which no other process may have.
    pub fn new(redis: Redis, name: &str) -> Self {
        let channel = format!("{STREAM}:replies:{name}");
        Self { redis, channel, next: AtomicU64::new(1), listener: Mutex::default() }
    }

    /// Asks for `wanted` and waits for the answer.
    async fn ask(&self, wanted: Wanted) -> Result<PublishAnswer, PublishError> {
        match timeout(WITHIN, self.send(wanted)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(PublishError::Unavailable(error)),
            Err(_) => Err(PublishError::Unavailable("it has not answered in time".to_owned())),
        }
    }

    async fn send(&self, wanted: Wanted) -> Result<PublishAnswer, String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Before it is asked, so that the answer is heard.
        let answers = self.listen().await.map_err(|error| error.to_string())?;
        let mut args = vec![Value::from(MOST_ENTRIES.to_string())];
        for (name, value) in write(&wanted, &ReplyTo { channel: self.channel.clone(), number }) {
            args.extend([Value::from_static_str(name), value.into()]);
        }
        let id: Option<String> =
            ADD.run_once(&self.redis, STREAM, args).await.map_err(|error| error.to_string())?;
        if id.is_none() {
            return Err(format!("{MOST_ENTRIES} entries wait in {STREAM}"));
        }
        answer(answers, number).await
    }

    async fn listen(&self) -> Result<Receiver<Message>, Error> {
        let mut listener = self.listener.lock().await;
        let listener = match &mut *listener {
            Some(listener) => listener,
            none => none.insert(Listener::open(&self.redis).await?),
        };
        let messages = listener.client.message_rx();
        listener.listen(&self.channel).await?;
        Ok(messages)
    }
}

impl Listener {
    async fn open(redis: &Redis) -> Result<Self, Error> {
        let client = redis.dedicated().await?;
        let reconnections = client.reconnect_rx();
        Ok(Self { client, runtime: redis.runtime().clone(), reconnections, checked: None })
    }

    /// Listens to `channel`, anew after a reconnection or a silence, in which the process may have been frozen.
    async fn listen(&mut self, channel: &str) -> Result<(), Error> {
        while !matches!(self.reconnections.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {
            self.checked = None;
        }
        if self.checked.is_none_or(|at| at.elapsed() > CHECK_AFTER) {
            self.checked = None;
            self.client.subscribe(channel).await?;
            self.checked = Some(Instant::now());
        }
        Ok(())
    }
}

/// Waits for the answer of that number.
async fn answer(mut messages: Receiver<Message>, number: u64) -> Result<PublishAnswer, String> {
    loop {
        let message = match messages.recv().await {
            Ok(message) => message,
            // If it was among those that were passed over, it does not come.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err("the connection has ended".to_owned()),
        };
        let text = message.value.as_str().unwrap_or_default();
        if let Ok(reply) = serde_json::from_str::<PublishReply>(&text)
            && reply.number == number
        {
            return Ok(reply.answer);
        }
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, request: PublishRequest) -> Result<PublishedAt, PublishError> {
        self.ask(Wanted::Publish(request)).await?.published()
    }

    async fn end(&self, topic: &PublishedTopic) -> Result<bool, PublishError> {
        self.ask(Wanted::End(topic.clone())).await?.ended()
    }
}
