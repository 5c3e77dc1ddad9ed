//! `bond up`: ingest and the edge in one process.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bond_api::auth::Access;
use bond_api::gate::Gate;
use bond_api::keys::Keys;
use bond_api::rest::{self, LocalBacking, Readiness, RestSettings, RestState, Traffic, UrlForm};
use bond_api::tokens::Tokens;
use bond_core::control::Control;
use bond_core::instrument::Venue;
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::time::Clock;
use bond_core::token::{TokenKey, TokenKeys};
use bond_core::vitals::LocalVitals;
use bond_ingest::backoff::BackoffPolicy;
use bond_ingest::clock::SystemClock;
use bond_ingest::engine::{self, EngineConfig, EngineHandle, Ports};
use bond_ingest::session::{Network, Timing};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outcome};
use crate::cli::{UpArgs, Venues};
use crate::config::Settings;
use crate::store::RedbStore;
use crate::venues::{self, Served};
use crate::ws::{Fanout, FanoutConfig, FanoutParts, Limits};
use crate::{ready, server, signal};

/// How often the file of API keys is looked at.
const KEYS_RECHECK: Duration = Duration::from_secs(1);

/// Serves until a signal asks to stop, or another writer takes over.
///
/// # Errors
/// Where settings, ports, data directory or venues cannot be used.
pub async fn run(args: &UpArgs, settings: Settings) -> Outcome {
    let tokens = token_keys(args, &settings)?;
    let access = access(args)?;
    let listeners = vec![listen(args, args.rest_port).await?, listen(args, args.ws_port).await?];
    let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
    let ports = ports(args, &settings)?;
    let served = venues::serve(args).await?;
    let cancel = CancellationToken::new();
    let engine = start_engine(&served, &settings, ports.clone(), &cancel).await?;
    let readiness = Readiness::default();
    readiness.set(true);
    let ws_port = addresses[1].port();
    let venues = served.markets.iter().map(|market| market.venue).collect();
    let edge = Edge { settings: &settings, ports, engine: &engine, readiness, venues, ws_port };
    let (fanout, router) = edge.start(access, tokens)?;
    let stop = cancel.clone();
    let serving = tokio::spawn(async move { server::serve(listeners, router, fanout.drain(), stop).await });
    ready::announce(args.ready_file.as_deref(), &banner(args, &addresses))?;
    signal::stop_requested().await;
    tracing::info!("stopping");
    cancel.cancel();
    serving.await.map_err(|error| Failure::new(Exit::Failed, error))?;
    engine.stopped().await.map_err(|error| Failure::new(Exit::Failed, error))?;
    drop(served);
    Ok(())
}

fn token_keys(args: &UpArgs, settings: &Settings) -> Result<TokenKeys, Failure> {
    let secret = settings.signing_secret(args.bind).map_err(|error| Failure::new(Exit::Failed, error))?;
    let previous = settings.previous_secret.as_ref().map(|secret| TokenKey::new(secret.expose()));
    Ok(TokenKeys::new(TokenKey::new(secret.expose()), previous)
        .with_legacy(settings.legacy_tokens.unwrap_or(false)))
}

/// Open on loopback without keys; anywhere else keys are needed from the start.
fn access(args: &UpArgs) -> Result<Access, Failure> {
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

async fn listen(args: &UpArgs, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(args.bind, port);
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot listen on {address}: {error}; choose with --rest-port and --ws-port"),
        )
    })
}

fn ports(args: &UpArgs, settings: &Settings) -> Result<Ports, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = RedbStore::open(&args.data_dir).map_err(|error| Failure::new(Exit::Failed, error))?;
    let retention = Retention {
        ring: settings.ring,
        topic_bytes: settings.ring_bytes / 4,
        total_bytes: settings.ring_bytes,
    };
    let log = MemoryLog::new(retention, Arc::clone(&clock), random()?);
    Ok(Ports {
        log: Arc::new(log),
        store: Arc::new(store),
        board: SourceBoard::default(),
        meters: Meters::default(),
        clock,
    })
}

fn random() -> Result<u32, Failure> {
    getrandom::u32().map_err(|error| Failure::new(Exit::Failed, error))
}

async fn start_engine(
    served: &Served,
    settings: &Settings,
    ports: Ports,
    cancel: &CancellationToken,
) -> Result<EngineHandle, Failure> {
    let failed = |why: String| Failure::new(Exit::Failed, why);
    let backoff = BackoffPolicy {
        first: settings.backoff_first,
        most: settings.backoff_max.max(settings.backoff_first),
        ..BackoffPolicy::default()
    };
    let config = EngineConfig {
        markets: served.markets.clone(),
        feed_symbols: settings.feed_symbols.clone(),
        ring: settings.ring,
        max_lag: settings.max_lag,
        timing: Timing { backoff, ..Timing::default() }.patient_by(settings.patience_percent),
        allow_private_sources: settings.allow_private_sources,
        social_seed: u64::from(random()?),
    };
    let network = Network::new().map_err(|error| failed(error.to_string()))?;
    engine::start(config, ports, network, cancel.clone()).await.map_err(|error| failed(error.to_string()))
}

/// What the edge is made of.
struct Edge<'a> {
    settings: &'a Settings,
    ports: Ports,
    engine: &'a EngineHandle,
    readiness: Readiness,
    venues: BTreeSet<Venue>,
    ws_port: u16,
}

impl Edge<'_> {
    fn start(self, access: Access, tokens: TokenKeys) -> Result<(Fanout, axum::Router), Failure> {
        let Ports { log, store, board, meters, clock } = self.ports.clone();
        let control = self.engine.control();
        let ended = meters.clone();
        let vitals = Arc::new(LocalVitals::new(meters.clone(), board.clone()));
        let state = Arc::new(self.state(Arc::clone(&control), Arc::clone(&vitals), access, tokens)?);
        let admission = Arc::new(Gate::of(&state));
        let parts = FanoutParts { log, store, control, admission, board, meters, clock };
        let fanout = Fanout::start(self.fanout_config()?, parts)?;
        let (told, counted) = (fanout.clone(), fanout.clone());
        state.ended.get_or_init(|| {
            Box::new(move |id| {
                ended.remove(id);
                told.end_stream(id);
            })
        });
        vitals.attach(Box::new(move || {
            let stats = counted.stats();
            (stats.connections as u64, stats.delivered)
        }));
        let router = rest::router(state, fanout.router());
        Ok((fanout, router))
    }

    fn state(
        &self,
        control: Arc<dyn Control>,
        vitals: Arc<LocalVitals>,
        access: Access,
        tokens: TokenKeys,
    ) -> Result<RestState, Failure> {
        let Ports { log, store, clock, .. } = self.ports.clone();
        let prometheus = PrometheusBuilder::new()
            .install_recorder()
            .map_err(|error| Failure::new(Exit::Failed, format!("metrics cannot be gathered: {error}")))?;
        Ok(RestState {
            started_at: clock.now(),
            store,
            control,
            backing: Arc::new(LocalBacking { log, readiness: self.readiness.clone() }),
            vitals,
            traffic: Traffic::default(),
            ended: OnceLock::new(),
            access: Arc::new(access),
            tokens: Arc::new(Tokens::new(tokens)),
            clock,
            prometheus: Box::new(move || prometheus.render()),
            settings: self.rest_settings(),
        })
    }

    fn fanout_config(&self) -> Result<FanoutConfig, Failure> {
        let ring_bytes = u64::try_from(self.settings.ring_bytes / 4).unwrap_or(u64::MAX);
        Ok(FanoutConfig {
            ring: self.settings.ring,
            ring_bytes,
            limits: Limits { heartbeat: self.settings.heartbeat, ..Limits::default() },
            ..FanoutConfig::new(format!("{:08x}", random()?))
        })
    }

    fn rest_settings(&self) -> RestSettings {
        RestSettings {
            max_streams: self.settings.max_streams,
            token_ttl: self.settings.token_ttl,
            ws_host: self.settings.ws_host.clone(),
            ws_port: self.ws_port,
            url_form: UrlForm::Path,
            allow_private_sources: self.settings.allow_private_sources,
            venues: self.venues.clone(),
        }
    }
}

fn banner(args: &UpArgs, addresses: &[SocketAddr; 2]) -> String {
    let venues = match (args.venue_urls.is_empty(), args.venues) {
        (false, _) => format!("venues: {}", args.venue_urls.join(", ")),
        (true, Venues::Sim) => "venues: SIMULATED (binance, okx, bybit); all prices are made up".to_owned(),
        (true, Venues::Live) => "venues: live (binance, okx, bybit)".to_owned(),
    };
    let example = r#"-d '{"natural_language":"BTC price + tweets every 5s"}'"#;
    format!(
        "bond serves\n  REST       http://{rest}\n  WebSocket  ws://{ws}\n  {venues}\n  tweets: SIMULATED\n\
         try: curl -X POST http://{rest}/v1/streams -H 'content-type: application/json' {example}\n",
        rest = addresses[0],
        ws = addresses[1],
    )
}
