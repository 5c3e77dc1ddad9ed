//! Commands from edges to ingest, in a stream.

use async_trait::async_trait;
use bond_core::control::{Command, Commands, Control, ControlError};
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::Value;
use fred::types::config::Options;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Redis, Verb, call, close, millis};
use crate::script::Script;
use crate::stream;

const KEY: &str = "bond:control";

/// The most bytes of commands that are kept. A reader that is further behind misses some; renewals and reconciliation make up for them.
const KEPT_BYTES: usize = 4 << 20;

/// The most bytes of one command. A filter with the largest allowed number of symbols has a fifth of it.
const COMMAND_BYTES: usize = 32 << 10;

/// How long a command is kept: twice a feed's lease. Older commands have no effect any more.
const KEPT_FOR: Duration = Duration::from_secs(60);

static SEND: Script = Script::new(include_str!("control.lua"));

/// The most commands that one read returns.
const BATCH: i64 = 256;

const NEWEST: Verb = Verb::new("XREVRANGE", 0);
/// The pause after a failed read.
const PAUSE: Duration = Duration::from_millis(200);

/// [`Control`] over a stream in Redis.
pub struct RedisControl(Redis);

impl RedisControl {
    /// Sends through `redis`.
    pub const fn new(redis: Redis) -> Self {
        Self(redis)
    }
}

#[async_trait]
impl Control for RedisControl {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        let text = command.to_json();
        if text.len() > COMMAND_BYTES {
            return Err(ControlError(format!(
                "a command has {COMMAND_BYTES} bytes at most, and this one {}",
                text.len()
            )));
        }
        let args = vec![text.into(), KEPT_BYTES.to_string().into(), i64::from(millis(KEPT_FOR)).into()];
        SEND.run(&self.0, KEY, args).await.map_err(failed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn failed(error: Error) -> ControlError {
    ControlError(error.to_string())
}

/// [`Commands`] of a stream in Redis, read over a connection of its own.
pub struct RedisCommands {
    /// Tells the reader's supervisor that the end is intended. It is declared before `received`, and so dropped before it: otherwise the
    /// reader could end first.
    _stop: DropGuard,
    received: mpsc::Receiver<Result<Vec<Command>, ControlError>>,
}

impl RedisCommands {
    /// Opens a reader of the commands that are sent from now on.
    ///
    /// # Errors
    /// [`ControlError`] if Redis cannot be reached.
    pub async fn open(redis: &Redis) -> Result<Self, ControlError> {
        let client = redis.dedicated().await.map_err(failed)?;
        let last = newest(&client).await.map_err(failed)?;
        let (sender, received) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let reader = CommandReader { client: client.clone(), last, sender };
        let runtime = redis.runtime().clone();
        redis.supervisor().spawn_on(redis.runtime(), "commands-reader", &stop, async move {
            reader.run().await;
            close(&runtime, client);
        });
        Ok(Self { _stop: stop.drop_guard(), received })
    }
}

#[async_trait]
impl Commands for RedisCommands {
    async fn next(&mut self) -> Result<Vec<Command>, ControlError> {
        self.received
            .recv()
            .await
            .unwrap_or_else(|| Err(ControlError("the reader of commands has ended".into())))
    }
}

/// The id of the newest command.
async fn newest(client: &Client) -> Result<String, Error> {
    let args = [KEY, "+", "-", "COUNT", "1"].map(Value::from_static_str).to_vec();
    let found = call(&client.with_options(&Options::default()), NEWEST, args).await?;
    let entries = found.into_array();
    Ok(entries.first().and_then(stream::id).unwrap_or_else(|| "0-0".to_owned()))
}

/// Reads in a separate task, so that a caller who stops waiting leaves no unanswered read on the connection.
struct CommandReader {
    client: Client,
    last: String,
    sender: mpsc::Sender<Result<Vec<Command>, ControlError>>,
}

impl CommandReader {
    async fn run(mut self) {
        while !self.sender.is_closed() {
            let outcome = self.read().await;
            let failed = outcome.is_err();
            if outcome.as_ref().is_ok_and(Vec::is_empty) {
                continue;
            }
            if self.sender.send(outcome.map_err(|error| ControlError(error.to_string()))).await.is_err() {
                return;
            }
            if failed {
                sleep(PAUSE).await;
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<Command>, Error> {
        let entries = stream::read_after(&self.client, KEY, &self.last, BATCH).await?;
        if let Some(last) = entries.last().and_then(stream::id) {
            self.last = last;
        }
        Ok(entries.iter().filter_map(command).collect())
    }
}

/// The command in an entry; `None` if it cannot be read. Such a command comes from another version of Bond, and reconciliation makes up for
/// it.
fn command(entry: &Value) -> Option<Command> {
    let Value::Array(parts) = entry else { return None };
    let Some(Value::Array(fields)) = parts.get(1) else { return None };
    let text = fields.get(1).and_then(Value::as_string).unwrap_or_default();
    Command::from_json(&text).inspect_err(|error| tracing::warn!(%error, "skipped a command")).ok()
}
