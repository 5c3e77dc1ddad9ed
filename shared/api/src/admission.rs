//! Who may open a connection: a port, since keys and tokens are checked elsewhere.

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bond_core::api_key::Holder;
use bond_core::code::Code;
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;

/// What a subprotocol begins with that is a credential, in base64url: the one header that a browser's WebSocket may set. It is never
/// selected, as the answer would repeat the credential.
const BEARER: &str = "bond.bearer.";

/// What a client shows when it connects.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The `token` parameter.
    pub token: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

impl Credentials<'_> {
    /// The credential among the subprotocols; an unreadable one is empty, which is none that is good.
    pub fn bearer(&self) -> Option<String> {
        let lists = self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let mut offered = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
        let text = offered.find_map(|item| item.trim().strip_prefix(BEARER))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        Some(String::from_utf8(bytes).unwrap_or_default())
    }
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

    /// A newer token for a connection to `stream`, or to a feed, that `holder` has opened. What is granted replaces what was.
    ///
    /// # Errors
    /// [`Refusal`], as of another owner's token; the connection goes on as it was.
    fn refresh(
        &self,
        stream: Option<&StreamId>,
        holder: Option<&Holder>,
        token: &str,
    ) -> Result<Grant, Refusal>;

    /// Whether a holder's key is still good. Does not wait.
    fn holds(&self, holder: &Holder) -> bool;

    /// A number that changes when the keys do: while it is the same, [`Admission::holds`] answers the same. Does not wait.
    fn version(&self) -> u64;
}
