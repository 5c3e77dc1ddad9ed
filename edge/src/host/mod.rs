//! The parts of every process that serves clients: REST and WebSocket over a log, a registry and a way to send commands to ingest.

pub mod intake;
pub mod leading;
pub mod redis;
pub mod vitals;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::routing::get;
use bond_api::auth::Access;
use bond_api::authorizer::ConnectionAuthorizer;
use bond_api::paces::Paces;
use bond_api::rest::{self, LocalBacking, Probed, Readiness, RestSettings, RestState, Traffic, UrlForm};
use bond_api::tokens::Tokens;
use bond_core::connection::UserLimits;
use bond_core::control::Control;
use bond_core::instrument::Venue;
use bond_core::publish::Publisher;
use bond_core::vitals::{LocalVitals, VitalsBoard};
use bond_ingest::engine::Ports;
use smol_str::SmolStr;

use crate::alerts::AlertConfig;
use crate::config::Settings;
use crate::prometheus::Prometheus;
use crate::ws::{self, Fanout, FanoutConfig, FanoutParts, Limits};

/// The ports and shared state from which clients are served.
#[derive(Clone)]
pub struct Parts {
    /// Log, registry, statuses of sources, counters of streams, and wall time.
    pub ports: Ports,
    /// The port by which commands are sent to ingest.
    pub control: Arc<dyn Control>,
    /// The port by which batches are sent to the writer of published topics.
    pub publisher: Arc<dyn Publisher>,
    /// The port by which users' subscriptions are counted over several processes.
    pub user_limits: Option<Arc<dyn UserLimits>>,
    /// The health reports of all processes.
    pub vitals: Arc<dyn VitalsBoard>,
    /// The health report of this process.
    pub local: Arc<LocalVitals>,
    /// Whether any process ingests.
    pub readiness: Readiness,
}

/// The settings by which clients are served.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// How long items are kept for replay.
    pub ring: Duration,
    /// The most bytes of frames that are kept for one topic.
    pub ring_bytes: u64,
    /// Deadlines and limits of connections.
    pub limits: Limits,
    /// How topics are watched.
    pub alerts: AlertConfig,
    /// The name of this process, unique among all.
    pub instance: SmolStr,
    /// The most connections of one address that are not WebSockets yet.
    pub http_per_address: usize,
    /// The settings that concern REST.
    pub rest: RestSettings,
}

impl HostConfig {
    /// The configuration of the process `instance`, which offers `venues` and serves WebSockets on `ws_port`.
    pub fn new(settings: &Settings, instance: SmolStr, venues: BTreeSet<Venue>, ws_port: u16) -> Self {
        Self {
            ring: settings.ring,
            ring_bytes: u64::try_from(settings.ring_bytes / 4).unwrap_or(u64::MAX),
            limits: Limits {
                connections: settings.sockets.connections,
                heartbeat: settings.heartbeat,
                silence: settings.sockets.silence(),
                queue: settings.sockets.queue,
                connections_per_address: settings.connections_per_address,
                connections_per_key: settings.connections_per_key,
                ..Limits::default()
            },
            alerts: AlertConfig { thresholds: settings.sockets.thresholds, ..AlertConfig::default() },
            instance,
            http_per_address: settings.http_per_address,
            rest: RestSettings {
                max_streams: settings.max_streams,
                per_second: settings.rest_per_second,
                open_metrics: settings.open_metrics,
                token_ttl: settings.token_ttl,
                ws_host: settings.ws_host.clone(),
                ws_port,
                url_form: UrlForm::Path,
                allow_private_sources: settings.allow_private_sources,
                venues,
            },
        }
    }
}

/// What serves clients.
pub struct Started {
    /// The WebSockets.
    pub fanout: Fanout,
    /// All paths.
    pub router: Router,
    /// The metrics for Prometheus, on any path and for anybody.
    pub metrics: Router,
}

/// Where the metrics are told under the names of BondX, by the rule of `/metrics`.
fn metrics_paths(state: Arc<RestState>) -> Router {
    let router = ["/ws/metrics", "/api/v1/ws/metrics"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, get(rest::scrape)));
    router.with_state(state)
}

fn scraped(prometheus: Prometheus) -> Router {
    let render = move || async move { ([(CONTENT_TYPE, rest::PROMETHEUS)], prometheus.render()) };
    Router::new().fallback(get(render))
}

/// Starts everything that serves clients. The router works only under [`crate::server::serve`].
///
/// # Errors
/// Fails if no thread can be started, or a metrics recorder is installed already.
pub fn start(
    config: HostConfig,
    parts: Parts,
    access: Arc<Access>,
    tokens: Arc<Tokens>,
) -> anyhow::Result<Started> {
    let Parts { ports, control, local, user_limits, .. } = parts.clone();
    let fanout_config = FanoutConfig {
        ring: config.ring,
        ring_bytes: config.ring_bytes,
        limits: config.limits,
        alerts: config.alerts,
        ..FanoutConfig::new(config.instance)
    };
    let prometheus = Prometheus::install()?;
    let state = Arc::new(rest_state(config.rest, parts, access, tokens, prometheus.clone()));
    let admission = Arc::new(ConnectionAuthorizer::of(&state));
    let meters = ports.meters.clone();
    let fanout = Fanout::start(fanout_config, FanoutParts { ports, control, admission, user_limits })?;
    let (told, counted) = (fanout.clone(), fanout.clone());
    state.ended.get_or_init(|| {
        Box::new(move |id| {
            meters.remove(id);
            told.end_stream(id);
        })
    });
    local.attach(Box::new(move || {
        let stats = counted.stats();
        (stats.connections as u64, stats.delivered)
    }));
    let counted = fanout.clone();
    prometheus.attach(Box::new(move |text| counted.render(text)));
    let metrics = scraped(prometheus);
    let others = fanout.router().merge(metrics_paths(Arc::clone(&state)));
    let router = rest::router(state, others);
    let router = Router::new().fallback_service(router).layer(middleware::from_fn(ws::root_by_query));
    Ok(Started { fanout, router, metrics })
}

fn rest_state(
    settings: RestSettings,
    parts: Parts,
    access: Arc<Access>,
    tokens: Arc<Tokens>,
    prometheus: Prometheus,
) -> RestState {
    let Parts { ports: Ports { log, store, clock, .. }, control, publisher, vitals, readiness, .. } = parts;
    RestState {
        started_at: clock.now(),
        store,
        control,
        log: Arc::clone(&log),
        publisher,
        backing: Arc::new(LocalBacking { log, readiness }),
        vitals,
        traffic: Traffic::default(),
        ended: OnceLock::new(),
        access,
        tokens,
        clock,
        prometheus: Box::new(move || prometheus.render()),
        paces: Paces::new(settings.per_second),
        probed: Probed::default(),
        settings,
    }
}
