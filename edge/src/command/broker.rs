//! `bond broker`: sends the entries of Redis Streams that other programs write to WebSocket clients, as the earlier Bond Broker did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bond_core::clock::SystemClock;
use bond_redis::external::ForeignStreams;
use bond_redis::{Redis, RedisConfig};
use bond_supervise::Supervisor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerConfig};
use crate::cli::BrokerArgs;
use crate::config::Settings;
use crate::failure::{Exit, Failure, Outcome};
use crate::server::{self, ServerConfig};
use crate::ws::Limits;
use crate::{ready, signal, signing};

/// The most clients at once.
const CONNECTIONS: usize = 50_000;

/// The most streams at once.
const STREAMS: usize = 10_000;

/// How long clients may take to leave when the broker ends.
const DRAIN: Duration = Duration::from_millis(1_500);

/// Serves until a signal asks to stop.
///
/// # Errors
/// Fails if the settings, the port or Redis cannot be used.
pub async fn run(args: &BrokerArgs, settings: Settings) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    let config = config(args, &settings)?;
    let redis = RedisConfig { url: args.redis.clone(), password: None };
    let supervisor = Supervisor::default();
    let redis = Redis::connect(&redis).await.map_err(|error| failed(&error))?.watched_by(&supervisor);
    let listener = TcpListener::bind(SocketAddr::new(args.bind, args.port)).await?;
    let address = listener.local_addr()?;
    let broker = Broker::start(config, ForeignStreams::new(redis), &supervisor);
    let stop = CancellationToken::new();
    let draining = broker.clone();
    let drain = async move { draining.drain(DRAIN).await };
    let server = ServerConfig::of(&settings, &supervisor);
    let serving = server::serve(server, vec![listener], broker.router(), drain, stop.clone());
    let serving = supervisor.spawn("server", &stop, serving);
    let banner = format!("bond broker serves\n  WebSocket  ws://{address}/ws/{{id}}\n");
    ready::announce(args.ready_file.as_deref(), &banner)?;
    let stopping = signal::stop_or_death(&supervisor).await;
    stop.cancel();
    let served = serving.await;
    stopping.end().await.map_err(|death| failed(&death))?;
    served.map_err(|error| failed(&error))
}

fn config(args: &BrokerArgs, settings: &Settings) -> Result<BrokerConfig, Failure> {
    let missing = || Failure::new(Exit::Failed, signing::secret_missing("the streams are other producers'"));
    let secret = settings.secret.as_ref().ok_or_else(missing)?;
    signing::warn_of_clear_text(settings, args.bind);
    // Clients of the earlier Bond Broker have tokens of the legacy form.
    let takes_legacy = settings.legacy_tokens.unwrap_or(true);
    if takes_legacy {
        tracing::warn!(
            "tokens of the legacy form are taken, whose MAC has 64 bits; set BOND_LEGACY_TOKENS=false once no client has any"
        );
    }
    Ok(BrokerConfig {
        tokens: signing::token_keys(secret, settings).with_legacy(takes_legacy),
        is_local: args.bind.is_loopback() && settings.ws_host.is_none(),
        window: settings.ring,
        stream_bytes: settings.ring_bytes / 4,
        total_bytes: settings.ring_bytes,
        streams: STREAMS,
        limits: Limits {
            connections: CONNECTIONS,
            connections_per_address: settings.connections_per_address,
            ..Limits::default()
        },
        clock: Arc::new(SystemClock),
    })
}
