//! What the protocol state does when time passes.

use std::time::Duration;

use bond_core::source::SourceState;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::ProtocolState;
use crate::report::Report;
use crate::session::link::Lost;
use crate::session::liveness::Due;
use crate::venue::Subscription;

impl ProtocolState<'_> {
    /// The time at which [`Self::due`] must be called next.
    pub(in crate::session) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.liveness.next_deadline(), self.books.next_deadline(), self.rejected.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(in crate::session) fn due(&mut self, now: Instant) {
        if let Some((count, reason)) = self.rejected.due(now) {
            self.report_rejections(count, reason);
        }
        let mut again = self.silent(now);
        let unproven = self.unproven(now);
        again.extend(unproven);
        again.sort_unstable();
        again.dedup();
        self.ask_again(&again);
    }

    /// Handles silent subscriptions. Returns those that are to be made again.
    fn silent(&mut self, now: Instant) -> Vec<Subscription> {
        let mut again = Vec::new();
        for due in self.liveness.due(now) {
            match due {
                Due::AskRefused { subscription } => {
                    self.await_book(&subscription, now);
                    self.effects.texts.extend(self.protocol.subscribe(&[subscription]));
                }
                Due::AskAgain { subscription, reason } => {
                    self.change(&subscription, SourceState::Stale, &reason);
                    again.push(subscription);
                }
                Due::Reconnect { subscription, reason } => {
                    self.change(&subscription, SourceState::Stale, &reason);
                    self.give_up(Lost::Starved { subscription, reason });
                }
            }
        }
        again
    }

    fn ask_again(&mut self, subscriptions: &[Subscription]) {
        if !subscriptions.is_empty() {
            self.effects.texts.extend(self.protocol.resubscribe(subscriptions));
        }
    }

    fn report_rejections(&mut self, count: u64, reason: SmolStr) {
        let (venue, market) = (self.protocol.venue(), self.protocol.market());
        metrics::counter!("bond_ingest_rejected_total", "venue" => venue.name()).increment(count);
        self.effects.reports.push(Report::Rejected { venue, market, count, reason });
    }

    /// Moves deadlines by the time for which we could not read the socket.
    pub(in crate::session) fn excuse(&mut self, blocked: Duration) {
        self.liveness.excuse(blocked);
        self.books.excuse(blocked);
    }
}
