//! The HTTP host: the same router on every port, sockets that can be taken over, and an orderly end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take once the server is to end.
const GRACE: Duration = Duration::from_millis(1_500);

/// The most HTTP connections at once; WebSockets do not count once they are open.
const CONNECTIONS: usize = 4_096;

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// How long to wait when the system has no file descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Raises the limit of open files as far as the system allows: every client is one, and the usual limit is 1024.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
}

/// Serves `router` on every listener until `shutdown`, then lets requests under way finish, and waits for `drain`, which lets clients
/// go. Returns within two seconds of it.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    drain: impl Future<Output = ()>,
    shutdown: CancellationToken,
) {
    raise_descriptor_limit();
    let host = Arc::new(Host { router, shutdown: shutdown.clone(), permits: Semaphore::new(CONNECTIONS) });
    let accepting: Vec<_> =
        listeners.into_iter().map(|listener| tokio::spawn(Arc::clone(&host).accept(listener))).collect();
    shutdown.cancelled().await;
    drain.await;
    for task in accepting {
        // A listener's task ends with the shutdown; its panic would have been logged.
        let _ = task.await;
    }
}

struct Host {
    router: Router,
    shutdown: CancellationToken,
    permits: Semaphore,
}

impl Host {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => self.take(socket).await,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }

    /// Serves one connection in a task of its own, as soon as there is a place.
    async fn take(self: &Arc<Self>, socket: TcpStream) {
        let host = Arc::clone(self);
        let Ok(permit) = self.permits.acquire().await else { return };
        permit.forget();
        tokio::spawn(async move {
            if let Err(error) = host.serve(socket).await {
                debug!(%error, "a connection ended early");
            }
            host.permits.add_permits(1);
        });
    }

    async fn serve(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let service = TowerToHyperService::new(self.router.clone());
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
        );
        tokio::select! {
            outcome = connection.as_mut() => return outcome.map_err(io::Error::other),
            () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        match tokio::time::timeout(GRACE, connection).await {
            Ok(outcome) => outcome.map_err(io::Error::other),
            Err(_) => Ok(()),
        }
    }
}
