//! The right to be the one ingest process that writes.

use std::time::Duration;

use async_trait::async_trait;

use crate::log::LogError;

/// How long the lease lasts unless it is renewed.
pub const LEASE: Duration = Duration::from_secs(10);

/// How often its holder renews it.
pub const RENEWAL: Duration = Duration::from_secs(3);

/// A lease that one process at a time holds. Holding it says who should write; that nobody else can is up to
/// [`EventLog::acquire`](crate::log::EventLog::acquire).
///
/// A process counts its lease from before it asked, by its own monotonic clock: what it believes to hold, no other holds, as long as the
/// adapter's store keeps its memory. A store that lost it gives the lease to the next who asks.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Takes the lease, or renews it where this handle holds it. `false`: another holds it.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; whether it is held is then unknown.
    async fn hold(&self) -> Result<bool, LogError>;

    /// Gives it up, if this handle holds it, so that the next need not wait.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn release(&self) -> Result<(), LogError>;
}
