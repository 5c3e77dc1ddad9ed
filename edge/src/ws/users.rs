//! How often each user subscribes: counted here at once, and over all processes on one Redis a moment later.
//!
//! A worker must not wait for Redis. So it goes by what is counted in this process, and has the subscription counted for all. Where the user
//! has used up the limit elsewhere, nothing more of it is taken here until it may be. Between the two a user may be a few subscriptions ahead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bond_core::connection::{RateTable, UserLimits};
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::Family;
use metrics::counter;
use smol_str::SmolStr;
use tokio::sync::mpsc;

/// The most users whose subscriptions are counted here.
const MOST_USERS: usize = 100_000;

/// The most subscriptions that wait to be counted for all; beyond it they are counted here alone.
const WAITING: usize = 1_024;

/// A subscription of a user to a topic of a family.
type Subscription = (SmolStr, Family);

/// What users have used up of their limits.
#[derive(Debug)]
pub(crate) struct Users {
    here: RateTable<Subscription>,
    everywhere: mpsc::Sender<Subscription>,
}

impl Users {
    /// Nothing used up, and what is to be counted over all processes.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Subscription>) {
        let (everywhere, subscriptions) = mpsc::channel(WAITING);
        (Self { here: RateTable::new(MOST_USERS), everywhere }, subscriptions)
    }

    /// Whether `user` may subscribe once more to a topic of `family` at `now`.
    pub(crate) fn spend(&self, user: &SmolStr, family: Family, now: UnixNanos) -> Result<(), Duration> {
        self.here.spend((user.clone(), family), family.limit_of_user(), now)?;
        if self.everywhere.try_send((user.clone(), family)).is_err() {
            counter!("bond_user_limits_uncounted_total").increment(1);
        }
        Ok(())
    }
}

/// Counts subscriptions over all processes, for as long as there are any to come.
pub(crate) async fn count(
    users: Arc<Users>,
    mut subscriptions: mpsc::Receiver<Subscription>,
    limits: Arc<dyn UserLimits>,
    clock: Arc<dyn Clock>,
) {
    let mut waiting = Vec::with_capacity(WAITING);
    while subscriptions.recv_many(&mut waiting, WAITING).await > 0 {
        let mut wanted: BTreeMap<SmolStr, BTreeMap<Family, u32>> = BTreeMap::new();
        for (user, family) in waiting.drain(..) {
            *wanted.entry(user).or_default().entry(family).or_default() += 1;
        }
        for (user, wanted) in wanted {
            let Ok(allowances) = limits.spend(&user, &wanted).await else {
                // The limits here hold alone until Redis answers again.
                counter!("bond_user_limits_uncounted_total")
                    .increment(wanted.values().copied().sum::<u32>().into());
                continue;
            };
            for (family, allowance) in allowances {
                if wanted.get(&family).is_some_and(|wanted| allowance.granted < *wanted) {
                    let until = clock.now().plus(allowance.wait);
                    users.here.hold((user.clone(), family), family.limit_of_user(), until);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bond_core::connection::Allowance;
    use bond_core::log::LogError;
    use bond_core::time::ManualClock;

    use super::*;

    /// Other processes have used everything up.
    struct UsedUp;

    #[async_trait]
    impl UserLimits for UsedUp {
        async fn spend(
            &self,
            _: &str,
            wanted: &BTreeMap<Family, u32>,
        ) -> Result<BTreeMap<Family, Allowance>, LogError> {
            let none = Allowance { granted: 0, wait: Duration::from_secs(9) };
            Ok(wanted.keys().map(|family| (*family, none)).collect())
        }
    }

    #[tokio::test]
    async fn what_was_used_up_elsewhere_is_used_up_here() {
        let (users, subscriptions) = Users::new();
        let users = Arc::new(users);
        let now = UnixNanos::from_secs(100);
        let ann = SmolStr::new("ann");
        assert_eq!(users.spend(&ann, Family::Risk, now), Ok(()));
        let users = Arc::try_unwrap(users).expect("alone");
        let Users { here, everywhere } = users;
        let (sender, _) = mpsc::channel(1);
        drop(everywhere);
        let users = Arc::new(Users { here, everywhere: sender });
        count(Arc::clone(&users), subscriptions, Arc::new(UsedUp), Arc::new(ManualClock::new(now))).await;
        let wait = users.spend(&ann, Family::Risk, now).expect_err("used up");
        assert!(wait >= Duration::from_secs(8), "{wait:?}");
        assert_eq!(users.spend(&ann, Family::Market, now), Ok(()), "another family");
    }
}
