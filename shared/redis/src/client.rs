//! The connection to Redis.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bond_core::log::LogError;
use bond_core::secret::Secret;
use bond_supervise::{Death, Supervisor};
use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::config::{Config, Options, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ConnectHandle, CustomCommand, FromValue, Value};
use fred::util::redis_keyslot;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use url::Url;

use crate::script::Script;

/// How long Redis may take to answer a command.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest pause between attempts to connect again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The most messages of a subscription that wait. Beyond it messages are lost, and the reader looks at all topics again.
const WAITING_MESSAGES: usize = 4096;

/// The name of the task that drives a connection.
const DRIVER: &str = "redis";

static PING: Script = Script::new("return redis.call('PING')");

/// Which Redis to use.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://host:6379`; `rediss://` for TLS with the system's root certificates; `redis-cluster://` or `rediss-cluster://` for a
    /// cluster. The URL may contain a user and a password.
    pub url: String,
    /// The password, which replaces the one in the URL.
    pub password: Option<Secret>,
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = Url::parse(&self.url).ok();
        if let Some(url) = &mut url {
            // This fails only for URLs without a host, which have no password either.
            let _ = url.set_password(None);
        }
        let url = url.map_or_else(|| "not a URL".to_owned(), |url| url.to_string());
        f.debug_struct("RedisConfig").field("url", &url).field("password", &self.password).finish()
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error(
        "cannot use the URL of Redis: {0}; give redis://, rediss://, redis-cluster:// or rediss-cluster:// with a host"
    )]
    Url(String),
    /// Redis cannot be reached, or refuses.
    #[error("redis cannot be reached: {0}")]
    Unreachable(String),
    /// A cluster, or one of its nodes by the address that it announces, cannot be reached.
    #[error(
        "the redis cluster cannot be reached: {0}; each node must announce an address that is reached from here: set \
         cluster-announce-ip or cluster-announce-hostname"
    )]
    Cluster(String),
}

/// A connection to Redis that is restored when it breaks. A clone is another handle on the same connection.
///
/// A command that gets no answer within two seconds has failed. While the connection is broken, commands wait that long for it.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    supervisor: Supervisor,
}

struct Shared {
    builder: Builder,
    client: WithOptions<Client>,
    strict: WithOptions<Client>,
    runtime: Handle,
    /// The task that drives the connection, until a supervisor watches it.
    driver: Mutex<Option<ConnectHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let client: &Client = &self.client;
        close(&self.runtime, client.clone());
    }
}

/// Ends a client's tasks, which would otherwise go on connecting.
#[expect(clippy::disallowed_methods, reason = "it says one word to a connection that nobody uses any more")]
pub(crate) fn close(runtime: &Handle, client: Client) {
    runtime.spawn(async move { client.quit().await });
}

/// A command, and the index of the argument that is its key. A cluster finds the server by the key.
#[derive(Clone, Copy)]
pub(crate) struct Verb {
    name: &'static str,
    key: usize,
    waits: bool,
}

impl Verb {
    /// A command that is answered at once.
    pub(crate) const fn new(name: &'static str, key: usize) -> Self {
        Self { name, key, waits: false }
    }

    /// A command that may block later commands on the same connection.
    pub(crate) const fn waiting(name: &'static str, key: usize) -> Self {
        Self { name, key, waits: true }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send + 'a>>;

/// Sends one command. All commands go through this function, because the client's own function is generic and would be compiled again
/// for every type of arguments.
pub(crate) fn call(client: &WithOptions<Client>, verb: Verb, args: Vec<Value>) -> Answer<'_> {
    let Verb { name, key, waits } = verb;
    // A slot is the only way to tell the client where to send a custom command.
    let slot = args.get(key).and_then(Value::as_bytes).map(redis_keyslot);
    Box::pin(client.custom(CustomCommand::new_static(name, slot, waits), args))
}

fn unreachable(builder: &Builder, error: &fred::error::Error) -> ConnectError {
    let is_cluster = builder.get_config().is_some_and(|config| config.server.is_clustered());
    if is_cluster {
        ConnectError::Cluster(error.to_string())
    } else {
        ConnectError::Unreachable(error.to_string())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}

impl Redis {
    /// Connects. Must be called within a tokio runtime, in which the connection then runs.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(config: &RedisConfig) -> Result<Self, ConnectError> {
        let builder = builder(config)?;
        let (client, driver) = init(&builder).await.map_err(|error| unreachable(&builder, &error))?;
        let driver = Mutex::new(Some(driver));
        let strict = client.with_options(&options(true));
        let client = client.with_options(&options(false));
        let shared = Arc::new(Shared { builder, client, strict, runtime: Handle::current(), driver });
        Ok(Self { shared, supervisor: Supervisor::default() })
    }

    /// The same connection, with its tasks watched by `supervisor`.
    #[must_use]
    pub fn watched_by(mut self, supervisor: &Supervisor) -> Self {
        self.supervisor = supervisor.clone();
        if let Some(driver) = self.shared.driver.lock().take() {
            watch(&self.shared.runtime, supervisor, driver);
        }
        self
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`ConnectError::Unreachable`].
    pub async fn ping(&self) -> Result<(), ConnectError> {
        // The ping is a script, so that in a cluster the node of a key answers, not an arbitrary node.
        let answer = PING.run::<()>(self, "bond:ping", Vec::new()).await;
        answer.map_err(|error| ConnectError::Unreachable(error.to_string()))
    }

    /// Opens a separate connection, for commands that would block those on the shared one.
    pub(crate) async fn dedicated(&self) -> Result<Client, Error> {
        let (client, driver) = init(&self.shared.builder).await?;
        watch(&self.shared.runtime, &self.supervisor, driver);
        Ok(client)
    }

    /// Sends a command that may be sent twice. If the connection breaks before the answer, the command is sent again.
    pub(crate) async fn call<R: FromValue>(&self, verb: Verb, args: Vec<Value>) -> Result<R, Error> {
        call(&self.shared.client, verb, args).await?.convert()
    }

    /// The client for commands that may be sent twice: a command without an answer is sent again when the connection has broken.
    pub(crate) fn client(&self) -> &WithOptions<Client> {
        &self.shared.client
    }

    /// The client for commands that must not be sent twice, and that fail at once without a connection.
    pub(crate) fn strict(&self) -> &WithOptions<Client> {
        &self.shared.strict
    }

    /// Whether keys are spread over several servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.shared.client.is_clustered()
    }

    pub(crate) const fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }
}

async fn init(builder: &Builder) -> Result<(Client, ConnectHandle), Error> {
    let client = builder.build()?;
    let driver = client.init().await?;
    Ok((client, driver))
}

/// Reports to the supervisor if a connection's driver ends without being asked to, because nothing would connect again.
#[expect(clippy::disallowed_methods, reason = "it does nothing but watch")]
fn watch(runtime: &Handle, supervisor: &Supervisor, driver: ConnectHandle) {
    let supervisor = supervisor.clone();
    runtime.spawn(async move {
        if let Some(how) = end(&driver.await) {
            supervisor.note(Death { name: DRIVER.into(), how });
        }
    });
}

/// How a driver has died; `None` if it was asked to end. A driver goes on whatever happens to the connection.
fn end(outcome: &Result<Result<(), Error>, JoinError>) -> Option<&'static str> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some("ended"),
        // The runtime's end cancels it.
        Err(error) => error.is_panic().then_some("panicked"),
    }
}

/// The URL schemes that are accepted. The client knows others, such as Sentinel's, which are not tested.
pub const SCHEMES: [&str; 4] = ["redis", "rediss", "redis-cluster", "rediss-cluster"];

fn builder(config: &RedisConfig) -> Result<Builder, ConnectError> {
    let url = Url::parse(&config.url).map_err(|error| ConnectError::Url(error.to_string()))?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(ConnectError::Url(format!("{}:// is not its scheme", url.scheme())));
    }
    install_tls_provider();
    let mut parsed = Config::from_url(&config.url).map_err(|error| ConnectError::Url(error.to_string()))?;
    if let Some(password) = &config.password {
        parsed.password = Some(password.expose().to_owned());
    }
    let mut builder = Builder::from_config(parsed);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, millis(LONGEST_PAUSE), 2));
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = COMMAND_TIMEOUT;
        performance.broadcast_channel_capacity = WAITING_MESSAGES;
    });
    builder.with_connection_config(|connection| {
        connection.connection_timeout = COMMAND_TIMEOUT;
        connection.internal_command_timeout = COMMAND_TIMEOUT;
        connection.max_command_attempts = 1;
        connection.reconnect_on_auth_error = true;
        connection.tcp.nodelay = Some(true);
        connection.unresponsive =
            UnresponsiveConfig { max_timeout: Some(2 * COMMAND_TIMEOUT), interval: COMMAND_TIMEOUT / 2 };
    });
    Ok(builder)
}

fn options(is_strict: bool) -> Options {
    Options {
        max_attempts: Some(if is_strict { 1 } else { 2 }),
        timeout: Some(COMMAND_TIMEOUT),
        fail_fast: is_strict,
        ..Options::default()
    }
}

/// Installs a TLS provider, because rustls refuses to choose if several are linked. An error means that one is installed already.
fn install_tls_provider() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
pub(crate) fn unavailable(error: Error) -> LogError {
    LogError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "it is watched, which is tested")]
    async fn a_driver_that_panics_or_fails_is_a_death_and_one_that_is_asked_to_end_is_not() {
        let supervisor = Supervisor::default();
        watch(&Handle::current(), &supervisor, tokio::spawn(async { panic!("planned") }));
        assert_eq!(supervisor.died().await, Death { name: DRIVER.into(), how: "panicked" });
        assert_eq!(end(&Ok(Err(Error::new_canceled()))), Some("ended"));
        assert_eq!(end(&Ok(Ok(()))), None);
    }

    #[test]
    fn no_password_shows() {
        let config = RedisConfig {
            url: "rediss://ann:in-the-url@redis.example:6379".into(),
            password: Some(Secret::new("beside-it".into())),
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("redis.example") && shown.contains("***"), "{shown}");
        assert!(!shown.contains("in-the-url") && !shown.contains("beside-it"), "{shown}");
    }
}
