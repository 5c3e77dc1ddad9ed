//! The common part of `bond up` and `bond edge`: who may connect, on which addresses, and when serving ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bond_api::auth::Access;
use bond_api::keys::Keys;
use bond_api::tokens::Tokens;
use bond_core::clock::SystemClock;
use bond_core::token::{SECRET_BYTES, check_secret};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::ServeArgs;
use crate::config::Settings;
use crate::failure::{Exit, Failure, Outcome};
use crate::host::redis::RedisHost;
use crate::host::{self, HostConfig, Parts, Started};
use crate::jwks::Jwks;
use crate::server::{self, ServerConfig};
use crate::signing::{self, Origin, SecretPlace};
use crate::{private, ready, signal};
use bond_core::secret::Secret;

/// How often the file of API keys is checked for changes.
const KEYS_RECHECK: Duration = Duration::from_secs(1);

/// The listeners, and the credentials that clients must present.
pub(super) struct Listeners {
    listeners: Vec<TcpListener>,
    /// Of the metrics alone.
    metrics: Option<TcpListener>,
    addresses: [SocketAddr; 2],
    access: Arc<Access>,
    tokens: Arc<Tokens>,
    jwks: Jwks,
    ready_file: Option<PathBuf>,
}

/// The rules of who may connect. They are decided before anything is connected to or opened.
pub(super) struct Rules {
    access: Access,
    origin: Origin,
}

impl Rules {
    /// The rules that follow from the arguments, the settings and the keys in the data directory.
    pub(super) fn of(args: &ServeArgs, settings: &Settings, has_redis: bool) -> Result<Self, Failure> {
        private::data_dir(&args.data_dir)
            .map_err(|error| failed(format!("cannot use {}: {error}", args.data_dir.display())))?;
        let keys = Keys::open(&args.data_dir, KEYS_RECHECK).map_err(failed)?;
        let place = SecretPlace { bind: args.bind, has_keys: keys.are_required(), has_redis };
        let origin = signing::decide(settings, place).map_err(failed)?;
        signing::warn_of_clear_text(settings, args.bind);
        let access = Access::new(keys, args.bind.is_loopback()).with_keys_in_urls(settings.keys_in_urls);
        Ok(Self { access, origin })
    }
}

impl Listeners {
    /// Opens the listeners. `shared`: the processes on one Redis that this process has joined, if it has.
    pub(super) async fn open(
        args: &ServeArgs,
        settings: &Settings,
        rules: Rules,
        shared: Option<&RedisHost>,
    ) -> Result<Self, Failure> {
        let Rules { access, origin } = rules;
        let secret = secret(origin, args, shared).await?;
        let tokens =
            signing::token_keys(&secret, settings).with_legacy(settings.legacy_tokens.unwrap_or(false));
        let verifier = signing::token_verifier(&settings.jwt, args.bind, &args.data_dir, random_bytes()?);
        let tokens = Tokens::new(tokens).with_topics(Arc::new(verifier.map_err(failed)?));
        let (tokens, access) = (Arc::new(tokens), Arc::new(access));
        let jwks =
            Jwks::open(settings.jwt.jwks.clone(), Arc::clone(tokens.topics())).await.map_err(failed)?;
        let listeners = vec![
            listen(args, args.rest_port, "--rest-port").await?,
            listen(args, args.ws_port, "--ws-port").await?,
        ];
        let metrics = match settings.sockets.prometheus_port {
            Some(port) => Some(listen(args, port, "PROMETHEUS_PORT").await?),
            None => None,
        };
        let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let ready_file = args.ready_file.clone();
        Ok(Self { listeners, metrics, addresses, access, tokens, jwks, ready_file })
    }

    /// The addresses of REST and WebSocket.
    pub(super) const fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }

    /// The text that is printed at the start.
    pub(super) fn banner(&self) -> String {
        let [rest, ws] = self.addresses;
        let who = match self.access.is_open() {
            true => "everybody on this machine, as there are no API keys; not for use behind a proxy",
            false => "holders of API keys",
        };
        let scraped = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let metrics = scraped.map_or_else(String::new, |at| format!("  metrics    http://{at}\n"));
        format!(
            "bond serves\n  REST       http://{rest}\n  WebSocket  ws://{ws}\n{metrics}  open to    {who}\n"
        )
    }

    pub(super) const fn ws_port(&self) -> u16 {
        self.addresses[1].port()
    }

    /// Serves until a signal asks to stop, or until a task has ended that must run. Then cancels `cancel`.
    pub(super) async fn serve(
        self,
        config: HostConfig,
        parts: Parts,
        banner: &str,
        cancel: &CancellationToken,
    ) -> Outcome {
        // However this ends, the tasks beside it end too.
        let _guard = cancel.clone().drop_guard();
        let connections_per_address = config.http_per_address;
        let supervisor = parts.ports.supervisor.clone();
        let Started { fanout, router, metrics } = host::start(config, parts, self.access, self.tokens)?;
        let following = supervisor.spawn("jwks", cancel, self.jwks.follow(cancel.clone()));
        let drain = async move { fanout.drain().await };
        let server = ServerConfig { connections_per_address, ..ServerConfig::new(&supervisor) };
        if let Some(listener) = self.metrics {
            let scraping = server::serve_one(&server, listener, metrics, cancel.clone());
            supervisor.spawn("prometheus", cancel, scraping);
        }
        let serving = server::serve(server, self.listeners, router, drain, cancel.clone());
        let serving = supervisor.spawn("server", cancel, serving);
        ready::announce(self.ready_file.as_deref(), banner)?;
        let stopping = signal::stop_or_death(&supervisor).await;
        cancel.cancel();
        let served = serving.await;
        // What has panicked was noted.
        let _ = following.await;
        stopping.end().await.map_err(|death| Failure::new(Exit::Failed, death))?;
        served.map_err(|error| Failure::new(Exit::Failed, error))
    }
}

/// Joins the processes on the Redis at `url`.
pub(super) async fn join(url: &str, settings: &Settings) -> Result<RedisHost, Failure> {
    let joined = RedisHost::join(url, settings, Arc::new(SystemClock), random()?).await;
    joined.map_err(|error| Failure::new(Exit::Failed, error))
}

pub(super) fn random() -> Result<u32, Failure> {
    getrandom::u32().map_err(|error| Failure::new(Exit::Failed, error))
}

pub(super) fn random_bytes() -> Result<[u8; SECRET_BYTES], Failure> {
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(failed)?;
    Ok(random)
}

async fn secret(origin: Origin, args: &ServeArgs, shared: Option<&RedisHost>) -> Result<Secret, Failure> {
    match (origin, shared) {
        (Origin::Set(secret), _) => Ok(secret),
        (Origin::Redis, Some(shared)) => {
            let secret = shared.secret(signing::hex(&random_bytes()?)).await.map_err(failed)?;
            check_secret(&secret)
                .map_err(|weak| failed(format!("the secret in Redis {weak}; delete bond:secret")))?;
            Ok(Secret::new(secret))
        }
        (Origin::Directory | Origin::Redis, _) => {
            signing::keep(&args.data_dir, random_bytes()?).map_err(failed)
        }
    }
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, why)
}

async fn listen(args: &ServeArgs, port: u16, setting: &str) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(args.bind, port);
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot listen on {address}: {error}; choose another with {setting}"),
        )
    })
}
