//! The registry: which streams are desired, and by whom.
//!
//! What every adapter must hold to is in [`StreamStore`]'s documentation, and checked by its behaviour suite.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::time::UnixNanos;
use crate::topic::StreamId;

/// A stream that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredStream {
    /// Its id.
    pub id: StreamId,
    /// The canonical form the id was taken over: two specs are the same when these are equal.
    pub canonical: String,
    /// The normalised spec as JSON, without what its owners wrote for themselves.
    pub spec: String,
    /// When it was first claimed, by our clock.
    pub created_at: UnixNanos,
}

/// An owner's wish that a stream run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who wants it.
    pub owner: String,
    /// When the wish ends by itself.
    pub expires_at: Option<UnixNanos>,
    /// What the owner wrote about it.
    pub labels: Labels,
}

/// What an owner writes about a stream for himself, and no other owner of the same stream gets to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The owner's name for the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The owner's words about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long the owner's spec asked for, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_sec: Option<u32>,
}

impl Labels {
    /// The text by which registries keep them; empty where nothing was written.
    pub fn to_text(&self) -> String {
        if *self == Self::default() { String::new() } else { serde_json::to_string(self).unwrap_or_default() }
    }

    /// Reads what [`Labels::to_text`] gave.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the text is no such thing.
    pub fn from_text(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|error| StoreError::Unavailable(format!("labels: {error}")))
    }
}

/// Why a registry did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The owner has as many streams as allowed.
    #[error("stream quota reached: {limit}; delete a stream first, or raise BOND_MAX_STREAMS")]
    Quota {
        /// How many are allowed.
        limit: usize,
    },
    /// The id belongs to a different spec.
    #[error("stream id {0} belongs to a different spec")]
    Conflict(StreamId),
    /// The registry cannot be reached or written.
    #[error("stream registry unavailable: {0}")]
    Unavailable(String),
}

/// Desired streams and the claims of their owners.
///
/// - A stream exists as long as at least one claim on it does; a claim past its `expires_at` does not exist, whoever asks.
/// - Every call is atomic. A second handle on the same registry sees what a returned call has done.
/// - What was written is there after a restart, unless the adapter says that it keeps memory only.
///
/// Two owners who want the same share a stream, which ends with the last claim:
///
/// ```
/// # use bond_core::store::{Claim, DesiredStream, Labels, StoreError, StreamStore};
/// # use bond_core::time::UnixNanos;
/// # async fn share(store: &dyn StreamStore, stream: DesiredStream, now: UnixNanos) -> Result<(), StoreError> {
/// let claim = |owner: &str| Claim { owner: owner.to_owned(), expires_at: None, labels: Labels::default() };
/// let (_, is_new) = store.claim(stream.clone(), claim("ann"), 5, now).await?;
/// let (_, is_new_again) = store.claim(stream.clone(), claim("bob"), 5, now).await?;
/// assert!(is_new && !is_new_again);
/// assert_eq!(store.release(&stream.id, "ann", now).await?, Some(false));
/// assert_eq!(store.release(&stream.id, "bob", now).await?, Some(true));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait StreamStore: Send + Sync {
    /// Claims a stream for an owner, and creates it if it does not exist. Claiming again renews `expires_at` and `labels`, and counts
    /// once.
    /// Returns the stream as it stands and whether this call created it.
    ///
    /// # Errors
    /// [`StoreError::Quota`] where the owner already has `quota` other streams, [`StoreError::Conflict`] where the id exists with
    /// another canonical form, [`StoreError::Unavailable`].
    async fn claim(
        &self,
        stream: DesiredStream,
        claim: Claim,
        quota: usize,
        now: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError>;

    /// Drops the owner's claim. `None`: the owner has none; `Some(true)`: it was the last, and the stream has ended.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn release(&self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<Option<bool>, StoreError>;

    /// The stream, if it exists, with its claims.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError>;

    /// An owner's streams by id, each with his claim, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn list(
        &self,
        owner: &str,
        after: Option<&StreamId>,
        limit: usize,
        now: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError>;

    /// Every stream that exists, for reconciliation. Removes what has expired.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn desired(&self, now: UnixNanos) -> Result<Vec<DesiredStream>, StoreError>;
}
