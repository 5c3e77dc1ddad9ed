//! What `bond up` and `bond edge` share: who is let in, where, and until when.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bond_api::auth::Access;
use bond_api::keys::Keys;
use bond_api::tokens::Tokens;
use bond_core::token::{TokenKey, TokenKeys};
use bond_ingest::clock::SystemClock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outcome};
use crate::cli::ServeArgs;
use crate::config::Settings;
use crate::host::redis::Shared;
use crate::host::{self, HostConfig, Parts};
use crate::server::{self, ServerConfig};
use crate::{ready, signal};

/// How often the file of API keys is looked at.
const KEYS_RECHECK: Duration = Duration::from_secs(1);

/// Where clients come in, and what they have to show.
pub(super) struct Door {
    listeners: Vec<TcpListener>,
    addresses: [SocketAddr; 2],
    access: Arc<Access>,
    tokens: Arc<Tokens>,
    ready_file: Option<PathBuf>,
}

impl Door {
    pub(super) async fn open(args: &ServeArgs, settings: &Settings) -> Result<Self, Failure> {
        let tokens = Arc::new(Tokens::new(token_keys(args, settings)?));
        let access = Arc::new(access(args)?);
        let listeners = vec![listen(args, args.rest_port).await?, listen(args, args.ws_port).await?];
        let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        Ok(Self { listeners, addresses, access, tokens, ready_file: args.ready_file.clone() })
    }

    /// The addresses of REST and WebSocket.
    pub(super) const fn addresses(&self) -> [SocketAddr; 2] {
        self.addresses
    }

    pub(super) const fn ws_port(&self) -> u16 {
        self.addresses[1].port()
    }

    /// Serves until a signal asks to stop, or until something has ended that must run; passes that on to `cancel`.
    pub(super) async fn serve(
        self,
        config: HostConfig,
        parts: Parts,
        banner: &str,
        cancel: &CancellationToken,
    ) -> Outcome {
        // Whatever ends this ends what runs beside it.
        let _guard = cancel.clone().drop_guard();
        let connections_per_address = config.http_per_address;
        let supervisor = parts.ports.supervisor.clone();
        let (fanout, router) = host::start(config, parts, self.access, self.tokens)?;
        let drain = async move { fanout.drain().await };
        let server = ServerConfig { connections_per_address, ..ServerConfig::new(&supervisor) };
        let serving = server::serve(server, self.listeners, router, drain, cancel.clone());
        let serving = supervisor.spawn("server", cancel, serving);
        ready::announce(self.ready_file.as_deref(), banner)?;
        let outcome = signal::stop_or_death(&supervisor).await;
        tracing::info!("stopping");
        cancel.cancel();
        serving.await.map_err(|error| Failure::new(Exit::Failed, error))?;
        outcome.map_err(|death| Failure::new(Exit::Failed, death))
    }
}

/// Joins the processes on the Redis at `url`.
pub(super) async fn join(url: &str, settings: &Settings) -> Result<Shared, Failure> {
    let joined = Shared::join(url, settings, Arc::new(SystemClock), random()?).await;
    joined.map_err(|error| Failure::new(Exit::Failed, error))
}

pub(super) fn random() -> Result<u32, Failure> {
    getrandom::u32().map_err(|error| Failure::new(Exit::Failed, error))
}

/// What people are told first.
pub(super) fn banner([rest, ws]: [SocketAddr; 2]) -> String {
    format!("bond serves\n  REST       http://{rest}\n  WebSocket  ws://{ws}\n")
}

fn token_keys(args: &ServeArgs, settings: &Settings) -> Result<TokenKeys, Failure> {
    let secret = settings.signing_secret(args.bind).map_err(|error| Failure::new(Exit::Failed, error))?;
    let previous = settings.previous_secret.as_ref().map(|secret| TokenKey::new(secret.expose()));
    Ok(TokenKeys::new(TokenKey::new(secret.expose()), previous)
        .with_legacy(settings.legacy_tokens.unwrap_or(false)))
}

/// Open on loopback without keys; anywhere else keys are needed from the start.
fn access(args: &ServeArgs) -> Result<Access, Failure> {
    let failed = |why: String| Failure::new(Exit::Failed, why);
    let keys = Keys::open(&args.data_dir, KEYS_RECHECK).map_err(|error| failed(error.to_string()))?;
    if !args.bind.is_loopback() && !keys.are_required() {
        return Err(failed(format!(
            "{} is not loopback, and there are no API keys: make one with `bond key new --owner NAME --data-dir {}`",
            args.bind,
            args.data_dir.display()
        )));
    }
    Ok(Access::new(keys, args.bind.is_loopback()))
}

async fn listen(args: &ServeArgs, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(args.bind, port);
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot listen on {address}: {error}; choose with --rest-port and --ws-port"),
        )
    })
}
