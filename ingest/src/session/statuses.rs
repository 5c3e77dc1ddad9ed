//! The latest state of each subscription of a market, so that only changes are reported.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bond_core::source::SourceState;
use bond_core::time::Clock;
use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::report::SubscriptionState;
use crate::venue::Subscription;

/// The states are shared by the tasks of a market. At any time only one task sets the state of a subscription: its connection, or the
/// supervisor if no connection carries it.
pub(super) struct Statuses {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<Subscription, SourceState>>,
}

impl Statuses {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, known: Mutex::default() }
    }

    /// Sets a state. Returns what to report if it is new.
    pub(super) fn change(
        &self,
        subscription: &Subscription,
        state: SourceState,
        reason: &str,
    ) -> Option<SubscriptionState> {
        let before = self.known.lock().insert(subscription.clone(), state);
        (before != Some(state)).then(|| SubscriptionState {
            subscription: subscription.clone(),
            state,
            since: self.clock.now(),
            reason: SmolStr::new(reason),
        })
    }

    /// The state of a subscription; `None` if it has none yet.
    pub(super) fn of(&self, subscription: &Subscription) -> Option<SourceState> {
        self.known.lock().get(subscription).copied()
    }

    /// Forgets a subscription that ended.
    pub(super) fn forget(&self, subscription: &Subscription) {
        self.known.lock().remove(subscription);
    }

    /// Forgets subscriptions that are no longer wanted.
    pub(super) fn retain(&self, wanted: &BTreeSet<Subscription>) {
        self.known.lock().retain(|subscription, _| wanted.contains(subscription));
    }
}
