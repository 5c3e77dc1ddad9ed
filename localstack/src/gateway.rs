//! The whole: state, routes, and the server's life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, post};
use axum::serve::ListenerExt;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::clock::VirtualClock;
use crate::config::Config;
use crate::faults::Faults;
use crate::lambda::{Function, Lambda};
use crate::stats::Stats;
use crate::throttle::Throttle;
use crate::token_bucket::TokenBucket;
use crate::websocket::Connections;
use crate::{admin, http_api, lambda, management, websocket};

/// The socket's part of what waits for a client that does not read: fixed, or the kernel would let it grow to megabytes.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// How often connections are looked through for those that have reached a limit.
const SWEEP: Duration = Duration::from_secs(1);

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) base_url: String,
    pub(crate) clock: VirtualClock,
    pub(crate) faults: Faults,
    pub(crate) stats: Stats,
    pub(crate) lambda: Lambda,
    pub(crate) connections: Connections,
    pub(crate) quota: Option<Mutex<TokenBucket>>,
    pub(crate) web_socket_throttle: Throttle,
    pub(crate) rest_throttle: Throttle,
}

impl Gateway {
    fn new(config: Config, base_url: String) -> Self {
        let now = Instant::now();
        let bucket = |rate| Mutex::new(TokenBucket::quota(rate, now));
        Self {
            clock: VirtualClock::default(),
            faults: Faults::new(config.seed),
            stats: Stats::default(),
            lambda: Lambda::new(&config.functions, &base_url),
            connections: Connections::default(),
            quota: config.account_posts_per_second.map(bucket),
            web_socket_throttle: Throttle::new(&config.throttles.web_sockets, now),
            rest_throttle: Throttle::new(&config.throttles.rest, now),
            config,
            base_url,
        }
    }

    /// How long a post takes now.
    pub(crate) fn post_time(&self) -> Duration {
        Duration::from_millis(self.config.post_ms + self.faults.setting(|plan| plan.post_delay_ms))
    }

    /// Whether a route's limit leaves room for one more; counted where it does not.
    pub(crate) fn admits(&self, throttle: &Throttle, route: &str) -> bool {
        let admitted = throttle.admits(route, Instant::now());
        if !admitted {
            self.stats.throttled.count();
        }
        admitted
    }

    /// How often the next asynchronous or WebSocket route's invocation of a function happens: AWS promises at least once.
    pub(crate) fn times_invoked(&self, function: &Function) -> usize {
        let twice = self.faults.strikes(|plan| plan.duplicate_invocations);
        if twice {
            function.stats().duplicates.count();
        }
        1 + usize::from(twice)
    }

    async fn sweep_forever(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        loop {
            ticks.tick().await;
            self.connections.sweep(self.clock.now_ms());
        }
    }
}

fn router(gateway: Arc<Gateway>) -> Router {
    let stage = &gateway.config.stage;
    let connection = post(management::post).get(management::get).delete(management::delete);
    Router::new()
        .nest("/_admin", admin::router())
        .route("/2015-03-31/functions/{name}/invocations", post(lambda::invoke))
        .route(&format!("/{stage}"), any(websocket::connect))
        .route(&format!("/{stage}/"), any(websocket::connect))
        .route(&format!("/{stage}/@connections/{{id}}"), connection)
        .fallback(http_api::handle)
        .layer(DefaultBodyLimit::disable())
        .with_state(gateway)
}

/// A listener whose connections have a small send buffer, so that a client that does not read is noticed soon.
///
/// # Errors
/// The address cannot be bound.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    // A listener has to be made within the runtime.
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Serves until `stop`, then ends all functions.
///
/// # Errors
/// The listener has no address, or fails.
pub async fn serve(config: Config, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let base_url = format!("http://{}", listener.local_addr()?);
    let gateway = Arc::new(Gateway::new(config, base_url));
    let service = router(gateway.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|socket| {
        // Only a latency, and only on a socket that works without.
        let _ = socket.set_nodelay(true);
    });
    let sweeping = tokio::spawn(gateway.clone().sweep_forever());
    let served = tokio::select! {
        served = async { axum::serve(listener, service).await } => served,
        () = stop.cancelled() => Ok(()),
    };
    sweeping.abort();
    gateway.lambda.stop().await;
    served.map_err(Into::into)
}
