//! Taking in what is in the stream, by whoever holds the lease.

use std::sync::Arc;
use std::time::Duration;

use bond_core::publish::{PublishError, PublishRequest, Publisher};
use fred::clients::Client;
use fred::types::Value;
use futures_util::future::OptionFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use smol_str::SmolStr;
use tokio::time::sleep;
use tracing::warn;

use super::entry::{self, PublishAnswer, PublishReply, ReplyTo, Wanted};
use super::{STREAM, reject};
use crate::client::{Redis, close};
use crate::lanes::Lanes;
use crate::script::Script;
use crate::stream;

/// How many topics are published to at once.
const TOPICS_AT_ONCE: usize = 64;

/// How many entries are read at once.
const BATCH: i64 = 64;

/// How many entries may wait for their turn; the others wait in the stream.
const MOST_WAITING: usize = 256;

/// The pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Before the first entry.
const BEGINNING: &str = "0-0";

/// Removes an entry and says the answer to whoever waits for it: in one step, since it is said once.
static SETTLE: Script = Script::new(
    "redis.call('XDEL', KEYS[1], ARGV[1])
    if ARGV[2] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end",
);

type EntryFields = Vec<(String, String)>;

/// An entry in its lane.
struct Job {
    id: String,
    wanted: Result<Wanted, String>,
    reply: Option<ReplyTo>,
    fields: EntryFields,
}

/// Takes in what is in the stream `bond:publish`, in order for each topic, for as long as it is polled. Only whoever holds the lease may.
pub async fn take_in(redis: Redis, publisher: Arc<dyn Publisher>) {
    let client = loop {
        match redis.dedicated().await {
            Ok(client) => break client,
            Err(error) => warn!(%error, "the stream of publishers cannot be read yet"),
        }
        sleep(PAUSE).await;
    };
    Intake { redis, publisher, connection: Connection(client) }.run().await;
}

/// The connection that waits, ended with the intake.
struct Connection(Client);

struct Intake {
    redis: Redis,
    publisher: Arc<dyn Publisher>,
    connection: Connection,
}

impl Drop for Intake {
    fn drop(&mut self) {
        close(self.redis.runtime(), self.connection.0.clone());
    }
}

impl Intake {
    async fn run(self) {
        let (mut lanes, mut in_hand) = (Lanes::default(), FuturesUnordered::new());
        let (mut reading, mut after) = (None, BEGINNING.to_owned());
        loop {
            while in_hand.len() < TOPICS_AT_ONCE
                && let Some((lane, job)) = lanes.next()
            {
                in_hand.push(self.carry_out(lane, job));
            }
            if reading.is_none() && lanes.count() < MOST_WAITING {
                if lanes.is_idle() {
                    // Nothing is left in the stream but what was not seen, even where its ids went back.
                    BEGINNING.clone_into(&mut after);
                }
                reading = Some(Box::pin(self.read(after.clone())));
            }
            tokio::select! {
                Some(lane) = in_hand.next() => lanes.done(lane),
                Some(entries) = OptionFuture::from(reading.as_mut()) => {
                    reading = None;
                    for entry in entries {
                        let job = Job::of(entry);
                        after.clone_from(&job.id);
                        lanes.push(job.lane(), job);
                    }
                }
                // Something is in hand, or read.
                else => sleep(PAUSE).await,
            }
        }
    }

    async fn read(&self, after: String) -> Vec<Value> {
        match stream::read_after(&self.connection.0, STREAM, &after, BATCH).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!(%error, "the stream of publishers cannot be read");
                sleep(PAUSE).await;
                Vec::new()
            }
        }
    }

    /// Carries out what an entry wants, and removes it. Gives its lane back.
    async fn carry_out(&self, lane: SmolStr, job: Job) -> SmolStr {
        let answer = match &job.wanted {
            Ok(Wanted::Publish(request)) => self.publish(request, &job).await,
            Ok(Wanted::End(topic)) => {
                let ended = until_answered(|| self.publisher.end(topic)).await;
                ended.ok().map(PublishAnswer::Ended)
            }
            Err(reason) => {
                self.reject(&job, reason).await;
                Some(PublishAnswer::Refused(reason.clone()))
            }
        };
        self.settle(&job, answer).await;
        lane
    }

    async fn publish(&self, request: &PublishRequest, job: &Job) -> Option<PublishAnswer> {
        let outcome = until_answered(|| self.publisher.publish(request.clone())).await;
        match &outcome {
            Ok(_) | Err(PublishError::Taken(_)) => (),
            // Whoever waits is told; a producer does not wait.
            Err(error) if job.reply.is_none() => self.reject(job, &error.to_string()).await,
            Err(_) => (),
        }
        PublishAnswer::to_publish(outcome)
    }

    async fn reject(&self, job: &Job, reason: &str) {
        // Not louder: the same mistake comes again and again, and is counted.
        tracing::debug!(id = %job.id, reason, "an entry was refused, and is kept in bond:publish:rejected");
        while let Err(error) = reject(&self.redis, reason, &job.fields).await {
            tracing::debug!(%error, "what was refused cannot be kept yet");
            sleep(PAUSE).await;
        }
    }

    /// Removes the entry, and answers whoever waits.
    async fn settle(&self, job: &Job, answer: Option<PublishAnswer>) {
        let (channel, reply) = match (&job.reply, answer) {
            (Some(ReplyTo { channel, number }), Some(answer)) => {
                let reply = serde_json::to_string(&PublishReply { number: *number, answer });
                (channel.as_str(), reply.unwrap_or_default())
            }
            _ => ("", String::new()),
        };
        let args = vec![job.id.as_str().into(), channel.into(), reply.into()];
        while let Err(error) = SETTLE.run::<()>(&self.redis, STREAM, args.clone()).await {
            tracing::debug!(%error, "an entry that was answered cannot be removed yet");
            sleep(PAUSE).await;
        }
    }
}

impl Job {
    fn of(entry: Value) -> Self {
        let id = stream::id(&entry).unwrap_or_default();
        let fields = stream::fields(entry);
        Self { wanted: entry::read(&id, &fields), reply: entry::reply_to(&fields), id, fields }
    }

    /// The topic; what has none is in a lane of its own.
    fn lane(&self) -> SmolStr {
        self.wanted.as_ref().map_or(SmolStr::default(), |wanted| SmolStr::new(wanted.topic().as_str()))
    }
}

/// Asks until the writer says more than that it cannot be reached.
async fn until_answered<T, F>(ask: impl Fn() -> F) -> Result<T, PublishError>
where
    F: Future<Output = Result<T, PublishError>>,
{
    loop {
        match ask().await {
            Err(PublishError::Unavailable(why)) => {
                tracing::debug!(%why, "the writer does not take an entry yet");
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}
