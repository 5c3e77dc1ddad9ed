//! An open connection at work: carries frames and deadlines to the state machine, and its effects to the outside.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bond_core::source::SourceState;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::books::BookResync;
use super::context::{Connection, Stopped, join};
use super::link::{Link, Lost};
use super::liveness::Liveness;
use super::protocol_state::ProtocolState;
use super::transport::{Received, Transport};
use crate::rest::RestError;
use crate::venue::{Listings, Protocol, Subscription};
use bond_core::backoff::Backoff;

/// An open connection at work.
pub(super) struct SessionLoop<'a, T: Transport> {
    connection: &'a mut Connection<T>,
    link: Link<T::Socket>,
    state: ProtocolState<'a>,
    snapshots: JoinSet<(Subscription, Result<Bytes, RestError>)>,
    orders: broadcast::Receiver<BookResync>,
    answered: bool,
}

impl<'a, T: Transport> SessionLoop<'a, T> {
    pub(super) fn new(
        connection: &'a mut Connection<T>,
        link: Link<T::Socket>,
        protocol: Box<dyn Protocol>,
        listings: Arc<Listings>,
        liveness: &'a mut Liveness,
    ) -> Self {
        let statuses = Arc::clone(&connection.context.statuses);
        let orders = connection.context.orders.subscribe();
        let state =
            ProtocolState::new(protocol, listings, statuses, liveness, connection.context.config.timing);
        Self { connection, link, state, snapshots: JoinSet::new(), orders, answered: false }
    }

    /// Talks until the connection is lost, then closes it. Data reset `backoff`.
    pub(super) async fn run(mut self, backoff: &mut Backoff) -> Result<Lost, Stopped> {
        let outcome = self.talk(backoff).await;
        self.link.close().await;
        outcome
    }

    async fn talk(&mut self, backoff: &mut Backoff) -> Result<Lost, Stopped> {
        self.take_raw();
        self.take_wanted();
        loop {
            if let Some(lost) = self.carry_out(backoff).await? {
                return Ok(lost);
            }
            if let Err(lost) = self.step().await? {
                // What the last frame meant is still told.
                self.carry_out(backoff).await?;
                return Ok(lost);
            }
        }
    }

    /// Waits for whatever comes first, then does what is due. Frames, of which there is no end on a busy connection, come last.
    async fn step(&mut self) -> Result<Result<(), Lost>, Stopped> {
        let deadline = self.link.next_deadline();
        let deadline = self.state.next_deadline().map_or(deadline, |at| at.min(deadline));
        tokio::select! {
            biased;
            () = self.connection.cancel.cancelled() => return Err(Stopped),
            changed = self.connection.wanted.changed() => {
                changed.map_err(|_| Stopped)?;
                self.take_wanted();
            }
            changed = self.connection.raw.changed() => {
                changed.map_err(|_| Stopped)?;
                self.take_raw();
            }
            Ok(order) = self.orders.recv() => self.state.order(order, Instant::now()),
            Some(done) = self.snapshots.join_next() => {
                if let Ok((subscription, answer)) = done {
                    let received = self.connection.context.clock.now();
                    self.state.snapshot(&subscription, answer, received, Instant::now());
                }
            }
            heard = self.link.hear() => match heard {
                Ok(Received::Text(text)) => {
                    let received = self.connection.context.clock.now();
                    self.state.frame(&text, received, Instant::now());
                }
                Ok(Received::Control) => {}
                Err(lost) => return Ok(Err(lost)),
            },
            () = sleep_until(deadline) => {}
        }
        let now = Instant::now();
        self.state.due(now);
        Ok(self.link.due(now).await)
    }

    fn take_raw(&mut self) {
        self.state.set_raw(*self.connection.raw.borrow_and_update());
    }

    fn take_wanted(&mut self) {
        self.state.want(&self.connection.wanted.borrow_and_update(), Instant::now());
    }

    fn fetch(&mut self, subscription: Subscription, path: &str) {
        let context = Arc::clone(&self.connection.context);
        let url = join(&context.config.rest_base, path);
        self.snapshots.spawn(async move {
            let answer = AssertUnwindSafe(context.get(url)).catch_unwind().await;
            (
                subscription,
                answer.unwrap_or_else(|_| Err(RestError::Transport("an error within bond".to_owned()))),
            )
        });
    }

    async fn carry_out(&mut self, backoff: &mut Backoff) -> Result<Option<Lost>, Stopped> {
        let effects = self.state.take_effects();
        if effects.data {
            backoff.reset();
        }
        self.link.queue(effects.texts);
        effects.snapshots.into_iter().for_each(|(subscription, path)| self.fetch(subscription, &path));
        let mut blocked = Duration::ZERO;
        for report in effects.reports {
            blocked += self.connection.report(report).await?;
        }
        if !blocked.is_zero() {
            self.link.excuse(blocked);
            self.state.excuse(blocked);
        }
        if effects.answered && !self.answered {
            self.answered = true;
            self.connection.note(SourceState::Connected, "the venue answers").await?;
        }
        Ok(effects.lost)
    }
}
