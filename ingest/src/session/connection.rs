//! The life of one connection of a market: connecting, and connecting again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bond_core::source::SourceState;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::context::{Connection, Stopped, join};
use super::link::{Link, LinkPolicy, Lost};
use super::liveness::Liveness;
use super::session_loop::SessionLoop;
use super::transport::Transport;
use crate::report::Report;
use crate::venue::Protocol;
use bond_core::backoff::Backoff;

/// The longest random wait before a planned reconnect, so that not all clients of a venue come back at once.
const PLANNED_WAIT: Duration = Duration::from_secs(1);

impl<T: Transport> Connection<T> {
    /// Keeps the connection up until it is cancelled.
    pub(super) async fn run(mut self) {
        let timing = self.context.config.timing;
        let mut backoff = Backoff::new(timing.backoff);
        let mut liveness = Liveness::new(timing.ack_timeout, timing.refused_retry);
        let mut state = SourceState::Connecting;
        let mut reason = "first attempt".to_owned();
        while self.announce(state, &reason).await.is_ok() {
            // If a frame causes a panic, this attempt fails, and the connection is made again.
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
                SessionLoop::new(
                    self,
                    Link::new(socket, policy, Instant::now()),
                    protocol,
                    listings,
                    liveness,
                )
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

    /// Reports the state of the connection, and with it of all its subscriptions.
    async fn announce(&mut self, state: SourceState, reason: &str) -> Result<(), Stopped> {
        let wanted = self.wanted.borrow_and_update().clone();
        let statuses = &self.context.statuses;
        let states: Vec<_> = wanted.iter().filter_map(|s| statuses.change(s, state, reason)).collect();
        if !states.is_empty() {
            self.report(Report::Subscriptions(states)).await?;
        }
        self.note(state, reason).await
    }

    /// Waits before the next attempt. Subscriptions that become wanted meanwhile get `state` and `reason`.
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
