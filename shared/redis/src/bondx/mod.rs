//! BondX's own producers, which publish to channels: `websocket.topic.*` and `websocket.broadcast`.
//!
//! Channels keep nothing: what is said while nobody listens is lost. That it may be is told in the topics, by a status.

mod fed;
mod message;

use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{EventLog, Fence};
use bond_core::publish::{PublishBatch, PublishError, PublishEvent, PublishRequest, Publisher};
use bond_core::time::Clock;
use bond_core::topic::{PublishedTopic, Topic};
use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::Message;
use fred::types::config::Server;
use futures_util::stream::{FuturesUnordered, StreamExt};
use metrics::counter;
use smol_str::SmolStr;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use self::fed::{Break, FedTopics};
use self::message::SourceEvent;
use crate::client::{Redis, close};
use crate::lanes::Lanes;
use crate::publish::reject;

const PATTERN: &str = "websocket.topic.*";
const BROADCAST: &str = "websocket.broadcast";

/// How many topics are published to at once.
const TOPICS_AT_ONCE: usize = 64;

/// How many events may wait for their turn. Beyond them, events are dropped, which their topics are told.
const MOST_WAITING: usize = 4_096;

/// How often an answer is asked for, without which a connection that died in silence would never be missed.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What the bridge works with.
#[derive(Clone)]
pub struct BridgeParts {
    /// The way to the writer.
    pub publisher: Arc<dyn Publisher>,
    /// Where breaks are kept, under this right.
    pub log: Arc<dyn EventLog>,
    /// The writer's right.
    pub fence: Fence,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// Publishes what BondX says, for as long as it is polled. Only whoever holds the lease may.
pub async fn bridge(redis: Redis, parts: BridgeParts) {
    let client = loop {
        match redis.dedicated().await {
            Ok(client) => break client,
            Err(error) => warn!(%error, "BondX cannot be listened to yet"),
        }
        sleep(PAUSE).await;
    };
    Bridge { redis, parts, client }.run().await;
}

struct Bridge {
    redis: Redis,
    parts: BridgeParts,
    client: Client,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        close(self.redis.runtime(), self.client.clone());
    }
}

/// What is to be done in a topic, in this order.
struct SourceJob {
    topic: PublishedTopic,
    told: Option<Break>,
    event: Option<PublishEvent>,
}

/// The lane of what cannot be read.
const REFUSED: SmolStr = SmolStr::new_static("");

enum Work {
    Event(SourceJob),
    Refused { reason: String, text: String },
}

/// What is heard.
struct Heard {
    messages: Receiver<Message>,
    reconnections: Receiver<Server>,
    check_at: Instant,
}

enum Sound {
    Message(Message),
    /// Something may not have been heard.
    Break,
    Check,
}

impl Heard {
    async fn next(&mut self) -> Sound {
        tokio::select! {
            message = self.messages.recv() => match message {
                Ok(message) => Sound::Message(message),
                Err(RecvError::Lagged(_)) => Sound::Break,
                Err(RecvError::Closed) => std::future::pending().await,
            },
            _ = self.reconnections.recv() => Sound::Break,
            () = sleep_until(self.check_at) => Sound::Check,
        }
    }
}

impl Bridge {
    async fn run(self) {
        let (messages, reconnections) = (self.client.message_rx(), self.client.reconnect_rx());
        let mut heard = Heard { messages, reconnections, check_at: Instant::now() + CHECK_EVERY };
        let (mut fed, mut lanes, mut in_hand) =
            (FedTopics::default(), Lanes::default(), FuturesUnordered::new());
        self.listen().await;
        loop {
            while in_hand.len() < TOPICS_AT_ONCE
                && let Some((lane, work)) = lanes.next()
            {
                in_hand.push(self.carry_out(lane, work));
            }
            tokio::select! {
                Some((lane, missed)) = in_hand.next() => {
                    lanes.done(lane);
                    missed.iter().for_each(|topic| fed.missed(topic));
                }
                sound = heard.next() => match sound {
                    Sound::Message(message) => take(&message, &mut fed, &mut lanes),
                    Sound::Break => {
                        self.listen().await;
                        tell_all(&mut fed, &mut lanes);
                    }
                    Sound::Check => {
                        if self.subscribe().await.is_err() {
                            self.listen().await;
                            tell_all(&mut fed, &mut lanes);
                        }
                        heard.check_at = Instant::now() + CHECK_EVERY;
                    }
                },
            }
        }
    }

    /// Listens, as soon as that can be had.
    async fn listen(&self) {
        while let Err(error) = self.subscribe().await {
            tracing::debug!(%error, "BondX cannot be listened to");
            sleep(PAUSE).await;
        }
    }

    async fn subscribe(&self) -> Result<(), Error> {
        self.client.psubscribe(PATTERN).await?;
        self.client.subscribe(BROADCAST).await
    }

    /// Gives the lane back, and the topic if its event was not passed on.
    async fn carry_out(&self, lane: SmolStr, work: Work) -> (SmolStr, Option<PublishedTopic>) {
        let missed = match work {
            Work::Event(job) => self.pass_on(job).await.err(),
            Work::Refused { reason, text } => {
                self.refuse(&reason, text).await;
                None
            }
        };
        (lane, missed)
    }

    async fn pass_on(&self, job: SourceJob) -> Result<(), PublishedTopic> {
        let SourceJob { topic, told, event } = job;
        if let Some(told) = told {
            let body = self.status(told);
            let kept = self.parts.log.keep(self.parts.fence, &Topic::Published(topic.clone()), body).await;
            kept.map_err(|_| topic.clone())?;
        }
        let Some(event) = event else { return Ok(()) };
        let payload = event.payload.clone();
        let batch = PublishBatch { events: vec![event], if_seq: None };
        let request = PublishRequest { topic: topic.clone(), batch, key: None, entry: None };
        match self.parts.publisher.publish(request).await {
            Ok(_) => Ok(()),
            // Whether it was appended is not known, and it must not be there twice.
            Err(PublishError::Unavailable(_)) => Err(topic),
            Err(error) => {
                self.refuse(&error.to_string(), payload).await;
                Err(topic)
            }
        }
    }

    async fn refuse(&self, reason: &str, text: String) {
        if let Err(error) = reject(&self.redis, reason, &[("message".to_owned(), text)]).await {
            tracing::debug!(%error, reason, "what BondX said was refused, and cannot be kept");
        }
    }

    fn status(&self, told: Break) -> Bytes {
        let mut body = br#""source":"bondx","state":"connected","since":""#.to_vec();
        self.parts.clock.now().write_rfc3339(&mut body);
        let rest = match told {
            Break::Unknown => {
                r#"","reason":"events may be missing before this: channels keep none while nobody listens""#
                    .to_owned()
            }
            Break::Lost(from, to) => format!(r#"","reason":"","lost":{{"from":{from},"to":{to}}}"#),
        };
        body.extend_from_slice(rest.as_bytes());
        body.into()
    }
}

fn take(message: &Message, fed: &mut FedTopics, lanes: &mut Lanes<Work>) {
    let text = message.value.as_str().unwrap_or_default();
    let read = message::read(&text);
    if lanes.count() >= MOST_WAITING {
        counter!("bond_bondx_dropped_total").increment(1);
        return read.iter().for_each(|event| fed.missed(&event.topic));
    }
    match read {
        Ok(SourceEvent { topic, seq, event }) => {
            let told = fed.note(&topic, seq, Instant::now());
            push(lanes, SourceJob { topic, told, event: Some(event) });
        }
        Err(reason) => lanes.push(REFUSED, Work::Refused { reason, text: text.into_owned() }),
    }
}

/// All that was fed may have missed something.
fn tell_all(fed: &mut FedTopics, lanes: &mut Lanes<Work>) {
    for topic in fed.broken(Instant::now()) {
        push(lanes, SourceJob { topic, told: Some(Break::Unknown), event: None });
    }
}

fn push(lanes: &mut Lanes<Work>, job: SourceJob) {
    lanes.push(SmolStr::new(job.topic.as_str()), Work::Event(job));
}
