//! The listening simulator and the handle that tests hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::fault::{Fault, FaultId, Moment};
use crate::http;
use crate::hub::{Hub, SentFrame};
use crate::journal::{Entry, Journal, Stats};
use crate::source::Source;

/// Shortest sleep of the pump: what is due within it is sent together.
const RESOLUTION: Duration = Duration::from_millis(1);

/// A running simulator. Dropping it stops it.
pub struct Simulator {
    addr: SocketAddr,
    hub: Arc<Hub>,
    stop: CancellationToken,
}

/// Reads the capture if there is one, binds, and serves until the simulator is dropped.
///
/// # Errors
/// The capture cannot be read, or the address cannot be bound.
pub async fn serve(config: Config) -> anyhow::Result<Simulator> {
    let clock = Clock::start();
    let (settings, now) = (config.clone(), clock.now());
    let source = tokio::task::spawn_blocking(move || Source::open(&settings, now)).await??;
    let listener = TcpListener::bind(config.bind).await.with_context(|| format!("bind {}", config.bind))?;
    let addr = listener.local_addr()?;
    let hub = Arc::new(Hub::new(config, source, clock));
    let stop = CancellationToken::new();
    tokio::spawn(stop.clone().run_until_cancelled_owned(pump(hub.clone())));
    tokio::spawn(stop.clone().run_until_cancelled_owned(accept(hub.clone(), listener, stop.clone())));
    Ok(Simulator { addr, hub, stop })
}

/// Sends what is due, then sleeps until something is due again.
async fn pump(hub: Arc<Hub>) {
    loop {
        let due = hub.advance().map(|due| Instant::from_std(hub.clock.instant(due)));
        let far = Instant::now() + Duration::from_secs(3_600);
        let until = due.unwrap_or(far).max(Instant::now() + RESOLUTION);
        tokio::select! {
            () = sleep_until(until) => {}
            () = hub.wake.notified() => {}
        }
    }
}

async fn accept(hub: Arc<Hub>, listener: TcpListener, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(&hub, stream, &stop),
            // Out of file descriptors, most likely: give some time to come free.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn take(hub: &Arc<Hub>, stream: TcpStream, stop: &CancellationToken) {
    if hub.turns_away(Moment::Connection, "") {
        return;
    }
    let _ = stream.set_nodelay(true);
    tokio::spawn(http::serve(hub.clone(), stream, stop.clone()));
}

impl Simulator {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://host:port`: WebSockets are there too, under `ws://`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Puts a fault in force. On return it is: no matching frame passes it any more, and what happens at once has happened.
    #[expect(clippy::needless_pass_by_value, reason = "callers write `inject(text.parse()?)`")]
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.hub.inject(&fault)
    }

    /// Ends all faults in force. What they did stays done.
    pub fn clear_faults(&self) {
        self.hub.clear_faults();
    }

    /// What happened so far, readable and awaitable.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.hub.journal
    }

    /// Totals per stream.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// The last frames sent, as many as [`Config::record`] says.
    #[must_use]
    pub fn sent(&self) -> Vec<SentFrame> {
        self.hub.sent()
    }

    /// Waits until a capture has been replayed to its end. A looped capture and a seeded market have none.
    pub async fn finished(&self) {
        self.hub.journal.wait(|entry| *entry == Entry::Finished).await;
    }

    /// Stops listening and drops all connections, as dropping the simulator does.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shutdown();
    }
}
