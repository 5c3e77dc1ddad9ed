//! How the protocol state keeps order books complete.

use std::sync::Arc;

use bond_core::event::{Channel, MarketData, MarketEvent};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use bytes::Bytes;
use tokio::time::Instant;

use super::ProtocolState;
use crate::rest::RestError;
use crate::session::books::{BookResync, Outcome};
use crate::session::link::Lost;
use crate::venue::Subscription;

impl ProtocolState<'_> {
    /// Records that a subscription is being made. If it is an order book, it needs a snapshot.
    pub(super) fn await_book(&mut self, subscription: &Subscription, sent: Instant) {
        if subscription.channel == Channel::OrderBook {
            self.books.asked(subscription, sent, sent + self.timing.ack_timeout);
        }
    }

    pub(super) fn book(
        &mut self,
        subscription: &Subscription,
        outcome: Outcome,
        events: &mut Vec<MarketEvent>,
    ) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Good { events: good, recovered } => {
                events.extend(good);
                if recovered {
                    self.change(subscription, SourceState::Connected, "the book is live");
                }
            }
            Outcome::Suspect { reason } => {
                tracing::warn!(instrument = %subscription.instrument, reason, "order book cannot be trusted");
                self.change(subscription, SourceState::Suspect, &reason);
            }
        }
    }

    /// Handles a request for a new snapshot.
    pub(in crate::session) fn order(&mut self, order: BookResync, now: Instant) {
        let (subscription, outcome) = self.books.order(order, now, rand::random());
        self.book(&subscription, outcome, &mut Vec::new());
    }

    /// Handles the answer to a REST request for a snapshot.
    pub(in crate::session) fn snapshot(
        &mut self,
        subscription: &Subscription,
        answer: Result<Bytes, RestError>,
        received: UnixNanos,
        now: Instant,
    ) {
        let outcome = match self.read_snapshot(subscription, answer, received) {
            Ok(event) => self.books.offer(subscription, event, now, rand::random()),
            Err(reason) => self.books.failed(subscription, &reason, now, rand::random()),
        };
        let mut events = Vec::new();
        self.book(subscription, outcome, &mut events);
        self.deliver(events, None);
    }

    fn read_snapshot(
        &self,
        subscription: &Subscription,
        answer: Result<Bytes, RestError>,
        received: UnixNanos,
    ) -> Result<MarketEvent, String> {
        let body = answer.map_err(|error| error.to_string())?;
        let instrument = Arc::clone(&subscription.instrument);
        let update =
            self.protocol.decode_snapshot(&instrument, &body).map_err(|reject| reject.to_string())?;
        Ok(MarketEvent { instrument, ts_event: received, ts_exchange: None, data: MarketData::Book(update) })
    }

    /// Requests the snapshots that are due. Returns the books that need a new subscription to get one.
    pub(super) fn unproven(&mut self, now: Instant) -> Vec<Subscription> {
        let due = self.books.due(now);
        if self.books.is_over_rest() {
            due.into_iter().for_each(|subscription| self.request_snapshot(subscription, now));
            return Vec::new();
        }
        for subscription in &due {
            if !self.books.awaits(subscription, now + self.timing.ack_timeout, rand::random()) {
                self.give_up(Lost::Unproven(subscription.clone()));
            }
        }
        due
    }

    fn request_snapshot(&mut self, subscription: Subscription, now: Instant) {
        match self.protocol.snapshot_request(&subscription.instrument) {
            Some(path) => self.effects.snapshots.push((subscription, path)),
            None => {
                let missed = self.books.failed(&subscription, "not listed", now, rand::random());
                self.book(&subscription, missed, &mut Vec::new());
            }
        }
    }
}
