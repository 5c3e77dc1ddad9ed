//! The state that the tasks of a market share, and the channels of each connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::{MarketType, Venue};
use bond_core::source::SourceState;
use bond_core::time::Clock;
use bytes::Bytes;
use smol_str::SmolStr;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::books::BookResync;
use super::config::MarketConfig;
use super::rate_limiter::RateLimiter;
use super::statuses::Statuses;
use super::transport::Transport;
use crate::report::Report;
use crate::rest::RestError;
use crate::venue::{Listings, Route, Subscription};

/// The state that the tasks of a market share.
pub(super) struct ConnectionContext<T> {
    pub(super) config: MarketConfig,
    pub(super) venue: Venue,
    pub(super) market: MarketType,
    pub(super) transport: T,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) statuses: Arc<Statuses>,
    /// Limits attempts to connect, over all connections.
    pub(super) connecting: RateLimiter,
    /// Limits REST requests.
    pub(super) rest: RateLimiter,
    /// Requests for new snapshots of order books. Each connection takes those of its own books.
    pub(super) orders: broadcast::Sender<BookResync>,
}

impl<T: Transport> ConnectionContext<T> {
    /// Makes a REST request as soon as the venue's limit allows. If the venue asks us to wait, all later requests wait too.
    pub(super) async fn get(&self, url: Url) -> Result<Bytes, RestError> {
        let mut pass = self.rest.pass().await;
        let answer = self.transport.get(url, self.config.timing.rest_timeout).await;
        if let Some(pause) = answer.as_ref().err().and_then(RestError::retry_after) {
            pass.hold(pause);
        }
        answer
    }
}

/// The state that a connection reports of itself.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub(super) connection: u64,
    pub(super) state: SourceState,
    pub(super) reason: SmolStr,
}

/// The connection has to end: the market does not need it any more, or nobody receives its reports.
#[derive(Debug)]
pub(super) struct Stopped;

/// One connection of a market.
pub(super) struct Connection<T> {
    pub(super) id: u64,
    pub(super) route: Route,
    pub(super) context: Arc<ConnectionContext<T>>,
    pub(super) wanted: watch::Receiver<BTreeSet<Subscription>>,
    pub(super) listings: watch::Receiver<Arc<Listings>>,
    pub(super) raw: watch::Receiver<bool>,
    pub(super) notes: mpsc::Sender<ConnectionState>,
    pub(super) cancel: CancellationToken,
}

impl<T: Transport> Connection<T> {
    /// Reports the state of this connection to the market.
    pub(super) async fn note(&self, state: SourceState, reason: &str) -> Result<(), Stopped> {
        let note = ConnectionState { connection: self.id, state, reason: reason.into() };
        let sent = self.cancel.run_until_cancelled(self.notes.send(note)).await;
        sent.ok_or(Stopped)?.map_err(|_| Stopped)
    }

    /// Sends a report, however long that takes. Returns how long it took.
    pub(super) async fn report(&self, report: Report) -> Result<Duration, Stopped> {
        let report = match self.context.reports.try_send(report) {
            Ok(()) => return Ok(Duration::ZERO),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
            Err(mpsc::error::TrySendError::Full(report)) => report,
        };
        let since = Instant::now();
        let sent = self.cancel.run_until_cancelled(self.context.reports.send(report)).await;
        sent.ok_or(Stopped)?.map_err(|_| Stopped)?;
        Ok(since.elapsed())
    }
}

/// The URL of `path`, with its query, below `base`.
pub(super) fn join(base: &Url, path: &str) -> Url {
    let text = format!("{}/{}", base.as_str().trim_end_matches('/'), path.trim_start_matches('/'));
    Url::parse(&text).unwrap_or_else(|_| base.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_below_the_base() {
        let at = |base: &str, path: &str| join(&Url::parse(base).unwrap(), path).to_string();
        assert_eq!(at("wss://a.example:9443", "/ws"), "wss://a.example:9443/ws");
        assert_eq!(
            at("http://127.0.0.1:9/binance/", "/api/v3/depth?limit=1"),
            "http://127.0.0.1:9/binance/api/v3/depth?limit=1"
        );
    }
}
