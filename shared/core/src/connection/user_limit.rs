//! The limits of users over all their connections, whichever process serves these.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::log::LogError;
use crate::topic::Family;

/// How many of the subscriptions that were asked for a user may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So many; they are counted.
    pub granted: u32,
    /// The time after which one more may be made.
    pub wait: Duration,
}

/// Counts users' subscriptions within [`Family::limit_of_user`].
#[async_trait]
pub trait UserLimits: Send + Sync {
    /// Counts as many of the subscriptions that `user` asks for as its limits allow, by family, in one step.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; what was counted then is not known.
    async fn spend(
        &self,
        user: &str,
        wanted: &BTreeMap<Family, u32>,
    ) -> Result<BTreeMap<Family, Allowance>, LogError>;
}
