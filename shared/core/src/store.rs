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
    /// The canonical form that the id is a hash of. Two specs are the same if their canonical forms are equal.
    pub canonical: String,
    /// The normalised spec as JSON, without the owners' [`Labels`].
    pub spec: String,
    /// When it was first claimed, by our clock.
    pub created_at: UnixNanos,
}

/// One owner's request that a stream run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who wants it.
    pub owner: String,
    /// When the claim ends by itself; `None` if it does not.
    pub expires_at: Option<UnixNanos>,
    /// What the owner wrote about it.
    pub labels: Labels,
}

/// An owner's own notes about a stream. Other owners of the same stream do not see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The owner's name for the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The owner's description of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The time to live that the owner's spec asked for, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_sec: Option<u32>,
}

impl Labels {
    /// The labels as registries store them: JSON, or an empty text if there are none.
    pub fn to_text(&self) -> String {
        if *self == Self::default() { String::new() } else { serde_json::to_string(self).unwrap_or_default() }
    }

    /// Reads what [`Labels::to_text`] gave.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the text was not written by [`Labels::to_text`].
    pub fn from_text(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|error| StoreError::Unavailable(format!("labels: {error}")))
    }
}

/// Why a registry refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The owner already has as many streams as are allowed.
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
/// - A stream exists as long as at least one claim on it does. A claim past its `expires_at` counts as absent for every call.
/// - Every call is atomic. After a call has returned, every other handle on the same registry sees its effect.
/// - What was written survives a restart, unless the adapter is documented to keep memory only.
///
/// Two owners of the same spec share one stream, which ends with the last claim:
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
    /// Claims a stream for an owner, and creates it if it does not exist. An owner who claims it again renews `expires_at` and
    /// `labels`; the stream still counts once towards the quota. Returns the stored stream and whether this call created it.
    ///
    /// # Errors
    /// [`StoreError::Quota`] if the owner already has `quota` other streams, [`StoreError::Conflict`] if the id exists with another
    /// canonical form, [`StoreError::Unavailable`].
    async fn claim(
        &self,
        stream: DesiredStream,
        claim: Claim,
        quota: usize,
        now: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError>;

    /// Drops the owner's claim. Returns `None` if the owner had none, and `Some(true)` if the claim was the stream's last, so that the
    /// stream has ended.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn release(&self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<Option<bool>, StoreError>;

    /// The stream with its claims, if the stream exists.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError>;

    /// A page of an owner's streams, each with the owner's claim: at most `limit` of them in the order of ids, beginning behind `after`.
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

    /// Every stream that exists, for reconciliation. Removes claims that have expired, and streams without a claim.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn desired(&self, now: UnixNanos) -> Result<Vec<DesiredStream>, StoreError>;
}
