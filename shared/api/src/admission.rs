//! Who may open a connection: a port, since keys and tokens are checked elsewhere.

use async_trait::async_trait;
use axum::http::HeaderMap;
use bond_core::api_key::Holder;
use bond_core::code::Code;
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;

/// What a client shows when it connects.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The `token` parameter.
    pub token: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// A client that may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// When the connection must be closed unless it was refreshed; `None`: it may stay.
    pub expires_at: Option<UnixNanos>,
    /// Whose API key opens it. `None`: nobody's, as in open mode. The connection must be closed once
    /// [`Admission::holds`] denies it.
    pub holder: Option<Holder>,
}

/// A client that may not. The connection is opened and closed with 1008, so that browsers see why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code to match on.
    pub code: Code,
    /// What to fix.
    pub message: String,
}

/// Decides about connections. Must not wait for anything slower than the registry.
#[async_trait]
pub trait Admission: Send + Sync {
    /// A connection to one stream.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn stream(&self, id: &StreamId, credentials: Credentials<'_>) -> Result<Grant, Refusal>;

    /// A connection to a feed.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn feed(&self, credentials: Credentials<'_>) -> Result<Grant, Refusal>;

    /// A newer token for a connection to `stream`, or to a feed.
    ///
    /// # Errors
    /// [`Refusal`]; the connection goes on as it was.
    fn refresh(&self, stream: Option<&StreamId>, token: &str) -> Result<Grant, Refusal>;

    /// Whether a holder's key is still good. Does not wait.
    fn holds(&self, holder: &Holder) -> bool;

    /// A number that changes when the keys do: while it is the same, [`Admission::holds`] answers the same. Does not wait.
    fn version(&self) -> u64;
}
