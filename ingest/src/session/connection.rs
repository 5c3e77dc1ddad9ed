//! One connection of a market: connecting, and connecting again.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::{MarketType, Venue};
use bond_core::source::SourceState;
use bond_core::time::Clock;
use bytes::Bytes;
use futures_util::FutureExt;
use smol_str::SmolStr;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::books::BookOrder;
use super::config::MarketConfig;
use super::gate::Gate;
use super::link::{Link, LinkPolicy, Lost};
use super::liveness::Liveness;
use super::statuses::Statuses;
use super::talk::Talk;
use super::transport::Transport;
use crate::backoff::Backoff;
use crate::report::Report;
use crate::rest::RestError;
use crate::venue::{Listings, Protocol, Route, Subscription};

/// The longest wait before a planned new connection, so that not everybody comes back at once.
const PLANNED_WAIT: Duration = Duration::from_secs(1);

/// What the tasks of a market share.
pub(super) struct Context<T> {
    pub(super) config: MarketConfig,
    pub(super) venue: Venue,
    pub(super) market: MarketType,
    pub(super) transport: T,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) statuses: Arc<Statuses>,
    /// Attempts to connect, all connections together.
    pub(super) connecting: Gate,
    /// REST requests.
    pub(super) rest: Gate,
    /// What is asked of order books; each connection takes what concerns it.
    pub(super) orders: broadcast::Sender<BookOrder>,
}

impl<T: Transport> Context<T> {
    /// The answer to a REST request, made when the venue's pace allows. A venue that asks us to stay away is obeyed by all that
    /// follow.
    pub(super) async fn get(&self, url: Url) -> Result<Bytes, RestError> {
        let mut pass = self.rest.pass().await;
        let answer = self.transport.get(url, self.config.timing.rest_timeout).await;
        if let Some(pause) = answer.as_ref().err().and_then(RestError::retry_after) {
            pass.hold(pause);
        }
        answer
    }
}

/// What a connection has to say about itself.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) connection: u64,
    pub(super) state: SourceState,
    pub(super) reason: SmolStr,
}

/// The market wants no more of this connection, or nobody listens to its reports.
#[derive(Debug)]
pub(super) struct Stopped;

/// One connection of a market.
pub(super) struct Connection<T> {
    pub(super) id: u64,
    pub(super) route: Route,
    pub(super) context: Arc<Context<T>>,
    pub(super) wanted: watch::Receiver<BTreeSet<Subscription>>,
    pub(super) listings: watch::Receiver<Arc<Listings>>,
    pub(super) raw: watch::Receiver<bool>,
    pub(super) notes: mpsc::Sender<Note>,
    pub(super) cancel: CancellationToken,
}

impl<T: Transport> Connection<T> {
    /// Keeps the connection up until it is cancelled.
    pub(super) async fn run(mut self) {
        let timing = self.context.config.timing;
        let mut backoff = Backoff::new(timing.backoff);
        let mut liveness = Liveness::new(timing.ack_timeout, timing.refused_retry);
        let mut state = SourceState::Connecting;
        let mut reason = "first attempt".to_owned();
        while self.announce(state, &reason).await.is_ok() {
            // One frame that nobody thought of costs an attempt, not the connection.
            let attempt = AssertUnwindSafe(self.attempt(&mut backoff, &mut liveness)).catch_unwind();
            let Ok(lost) = attempt.await.unwrap_or(Ok(Lost::Panicked)) else { break };
            let wait = wait_after(&lost, &mut backoff);
            self.log(&lost, &backoff, wait);
            state = if backoff.has_failed() { SourceState::Failed } else { SourceState::Reconnecting };
            reason = lost.to_string();
            if self.wait(Instant::now() + wait, state, &reason).await.is_err() {
                break;
            }
        }
    }

    async fn attempt(&mut self, backoff: &mut Backoff, liveness: &mut Liveness) -> Result<Lost, Stopped> {
        let listings = Arc::clone(&self.listings.borrow_and_update());
        let protocol = (self.context.config.protocol)(Arc::clone(&listings));
        let policy = self.link_policy(protocol.as_ref());
        let cancel = self.cancel.clone();
        let connecting = cancel.run_until_cancelled(self.connect()).await.ok_or(Stopped)?;
        match connecting {
            Ok(socket) => {
                Talk::new(self, Link::new(socket, policy, Instant::now()), protocol, listings, liveness)
                    .run(backoff)
                    .await
            }
            Err(lost) => Ok(lost),
        }
    }

    async fn connect(&self) -> Result<T::Socket, Lost> {
        let limit = self.context.config.timing.connect_timeout;
        let url = join(&self.context.config.ws_base, self.route.path);
        drop(self.context.connecting.pass().await);
        let connecting = timeout(limit, self.context.transport.connect(&url)).await;
        Ok(connecting.map_err(|_| Lost::ConnectTimeout(limit))??)
    }

    fn link_policy(&self, protocol: &dyn Protocol) -> LinkPolicy {
        let limits = protocol.limits();
        LinkPolicy {
            heartbeat: self.context.config.timing.heartbeat,
            message_interval: limits.message_interval,
            keepalive: protocol.keepalive(),
            lifetime: Some(limits.lifetime.mul_f64(1.0 - 0.1 * rand::random::<f64>())),
        }
    }

    /// Tells the state of the connection, and so of everything that it should carry.
    async fn announce(&mut self, state: SourceState, reason: &str) -> Result<(), Stopped> {
        let wanted = self.wanted.borrow_and_update().clone();
        let statuses = &self.context.statuses;
        let states: Vec<_> = wanted.iter().filter_map(|s| statuses.change(s, state, reason)).collect();
        if !states.is_empty() {
            self.report(Report::Subscriptions(states)).await?;
        }
        self.note(state, reason).await
    }

    /// Tells the market the state of this connection.
    pub(super) async fn note(&self, state: SourceState, reason: &str) -> Result<(), Stopped> {
        let note = Note { connection: self.id, state, reason: reason.into() };
        let sent = self.cancel.run_until_cancelled(self.notes.send(note)).await;
        sent.ok_or(Stopped)?.map_err(|_| Stopped)
    }

    /// Reports, however long it takes; tells how long we were held up.
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

    /// Waits before the next attempt; what becomes wanted meanwhile learns why nothing comes.
    async fn wait(&mut self, until: Instant, state: SourceState, reason: &str) -> Result<(), Stopped> {
        loop {
            self.announce(state, reason).await?;
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Stopped),
                () = sleep_until(until) => return Ok(()),
                changed = self.wanted.changed() => changed.map_err(|_| Stopped)?,
            }
        }
    }

    fn log(&self, lost: &Lost, backoff: &Backoff, wait: Duration) {
        let Some(untold) = self.context.config.outages.tell(wait, Instant::now()) else { return };
        tracing::warn!(
            venue = %self.context.venue,
            market = %self.context.market,
            route = self.route.name,
            reason = %lost,
            failures = backoff.failures(),
            wait_ms = wait.as_millis(),
            untold,
            "connection lost, connecting again after a wait"
        );
    }
}

fn wait_after(lost: &Lost, backoff: &mut Backoff) -> Duration {
    let unit = rand::random();
    match lost.is_planned() && backoff.failures() == 0 {
        true => PLANNED_WAIT.mul_f64(unit),
        false => backoff.fail(unit),
    }
}

/// `path`, with its query, below `base`.
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
