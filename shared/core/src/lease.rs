//! The leadership lease: the right to be the one ingest process that writes.

use std::time::Duration;

use async_trait::async_trait;

use crate::log::LogError;

/// How long the lease lasts unless it is renewed.
pub const LEASE: Duration = Duration::from_secs(10);

/// How often its holder renews it.
pub const RENEWAL: Duration = Duration::from_secs(3);

/// A lease that one process at a time holds. The lease decides who should write. It does not stop others from writing: the fence of
/// [`EventLog::acquire`](crate::log::EventLog::acquire) does.
///
/// A holder measures its lease by its own monotonic clock, from the moment before it asked. A process that believes it holds the lease
/// is so the only one, as long as the adapter's store loses no data. A store that has lost its data gives the lease to the next
/// process that asks.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Takes the lease, or renews it if this handle holds it already. Returns `false` if another handle holds it.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]. It is then unknown who holds the lease.
    async fn hold(&self) -> Result<bool, LogError>;

    /// Gives up the lease, if this handle holds it, so that the next process need not wait until it ends.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn release(&self) -> Result<(), LogError>;
}
