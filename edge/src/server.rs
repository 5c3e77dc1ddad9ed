//! The HTTP host: it serves the same router on every port, hands over sockets to the WebSocket side, sets deadlines for slow clients, and
//! ends in order.

mod client;
mod places;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bond_supervise::Supervisor;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use smol_str::format_smolstr;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::Settings;
use client::Requests;
pub(crate) use client::{HttpConnection, Peer};
use places::{Places, Slot};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests in progress may take once the server is asked to end.
const GRACE: Duration = Duration::from_millis(1_500);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when the system has no file descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The most connections of one listener that are not WebSockets yet. Beyond it, the connection that has been waited for longest is
    /// closed.
    pub connections: usize,
    /// The same for one address, except loopback.
    pub connections_per_address: usize,
    /// The supervisor of the listeners.
    pub supervisor: Supervisor,
}

impl ServerConfig {
    /// The default settings, with this supervisor.
    pub fn new(supervisor: &Supervisor) -> Self {
        Self { connections: 4_096, connections_per_address: 64, supervisor: supervisor.clone() }
    }

    /// The settings that `settings` name.
    pub fn of(settings: &Settings, supervisor: &Supervisor) -> Self {
        Self { connections_per_address: settings.http_per_address, ..Self::new(supervisor) }
    }
}

/// Raises the limit of open files as far as the system allows. Every client needs one, and the usual limit is 1024.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}

/// Serves `router` on every listener until `shutdown`. Then it lets requests in progress finish, waits for `drain`, which disconnects
/// clients, and returns within two seconds. If a task that must run has died, the listeners stay open until the process ends, so that
/// `/ready` can still say so.
pub async fn serve(
    config: ServerConfig,
    listeners: Vec<TcpListener>,
    router: Router,
    drain: impl Future<Output = ()>,
    shutdown: CancellationToken,
) {
    raise_descriptor_limit();
    let door = CancellationToken::new();
    let accepting: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(index, listener)| {
            // Each port has its own places, so that a crowd on one does not block the other.
            let places = Places::new(config.connections, config.connections_per_address);
            let host = Host { router: router.clone(), shutdown: door.clone(), places };
            let name = format_smolstr!("listener-{index}");
            config.supervisor.spawn(name, &shutdown, Arc::new(host).accept(listener))
        })
        .collect();
    shutdown.cancelled().await;
    if config.supervisor.death().is_some() {
        return drain.await;
    }
    door.cancel();
    drain.await;
    for task in accepting {
        // A listener's task ends with the shutdown. The supervisor knows of a panic.
        let _ = task.await;
    }
}

/// Serves `router` on one listener more, until `shutdown`.
pub fn serve_one(
    config: &ServerConfig,
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let places = Places::new(config.connections, config.connections_per_address);
    Arc::new(Host { router, shutdown, places }).accept(listener)
}

struct Host {
    router: Router,
    shutdown: CancellationToken,
    places: Arc<Places>,
}

impl Host {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let shutdown = self.shutdown.clone();
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((socket, peer)) => self.take(socket, peer).await,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }

    /// Serves one connection in a separate task, which holds a place as long as it runs.
    async fn take(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let taken = self.shutdown.run_until_cancelled(self.places.take(peer.ip())).await;
        let Some(Some(place)) = taken else { return };
        let host = Arc::clone(self);
        #[expect(clippy::disallowed_methods, reason = "one client's, whose place is given back by its end")]
        tokio::spawn(async move {
            if let Err(error) = host.serve(socket, peer, &place).await {
                debug!(%error, "a connection ended early");
            }
        });
    }

    async fn serve(&self, socket: TcpStream, peer: SocketAddr, place: &Slot) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let requests = Requests::new(self.router.clone(), Peer(peer.ip()), place.occupant());
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(HttpConnection::new(socket)), requests)
                .with_upgrades()
        );
        tokio::select! {
            outcome = connection.as_mut() => return outcome.map_err(io::Error::other),
            () = place.lost() => return Err(io::Error::other("gave way to another")),
            () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        match tokio::time::timeout(GRACE, connection).await {
            Ok(outcome) => outcome.map_err(io::Error::other),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
