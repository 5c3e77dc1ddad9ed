//! The port that decides who may open a connection.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bond_core::api_key::Holder;
use bond_core::code::Code;
use bond_core::grants::Grants;
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;

use crate::auth::authorization;
use crate::jwt::Revocations;

/// The prefix of a subprotocol that carries a credential in base64url. The subprotocol is the only header that a browser can set on a
/// WebSocket. Bond never selects this subprotocol, because the response would repeat the credential.
const BEARER: &str = "bond.bearer.";

/// The credentials of a client that connects.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The `token` parameter.
    pub token: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// A credential of a client, and where it stood.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The credential.
    pub(crate) text: String,
    /// Whether it stood in the URL. URLs are kept in histories and logs.
    pub(crate) in_url: bool,
}

impl Credentials<'_> {
    /// The first credential of: the URL, the subprotocols, `Authorization`.
    pub(crate) fn shown(&self) -> Option<Shown> {
        let in_url = self.token.map(|text| Shown { text: text.to_owned(), in_url: true });
        let header = || self.bearer().or_else(|| authorization(self.headers).map(str::to_owned));
        in_url.or_else(|| header().map(|text| Shown { text, in_url: false }))
    }

    /// The credential among the subprotocols. If it cannot be decoded it is empty, which is never valid.
    pub fn bearer(&self) -> Option<String> {
        let lists = self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let mut offered = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
        let text = offered.find_map(|item| item.trim().strip_prefix(BEARER))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        Some(String::from_utf8(bytes).unwrap_or_default())
    }
}

/// The right of a client to be connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// When the connection must be closed unless it was refreshed; `None` if there is no limit.
    pub expires_at: Option<UnixNanos>,
    /// The holder of the API key behind the connection; `None` if there is none, as in open mode. The connection must be closed once
    /// [`Admission::holds`] returns false for the holder.
    pub holder: Option<Holder>,
}

/// What a client of topics is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicGrant {
    /// What it may do, and until when.
    pub grants: Grants,
    /// Whose API key opens it, as in [`Grant::holder`].
    pub holder: Option<Holder>,
}

/// Why a client may not connect. The connection is opened, and closed with the code's [`Code::close_code`], so that browsers see the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code to match on.
    pub code: Code,
    /// What to fix.
    pub message: String,
}

impl Refusal {
    /// The refusal of a client without a token. The paths of one topic need a token in open mode too, where [`Admission::topics`] grants
    /// everything.
    pub fn token_required() -> Self {
        let message = "no token: send a JWT of your issuer as `Authorization: Bearer …`, as the subprotocol bond.bearer.{base64url of it}, or as \
                       ?token=…; `bond token jwt --user NAME` makes one for trying out";
        Self { code: Code::AuthRequired, message: message.to_owned() }
    }
}

/// Decides who may connect. An implementation must not wait for anything slower than the registry.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Decides about a connection to one stream.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn stream(&self, id: &StreamId, credentials: Credentials<'_>) -> Result<Grant, Refusal>;

    /// Decides about a connection to a feed.
    ///
    /// # Errors
    /// [`Refusal`].
    async fn feed(&self, credentials: Credentials<'_>) -> Result<Grant, Refusal>;

    /// Decides about a connection to topics, by a JWT, a static token or an API key. In open mode a token is checked too if there is one;
    /// without one everything is granted ([`Grants::is_open`]). Does not wait.
    ///
    /// # Errors
    /// [`Refusal`].
    fn topics(&self, credentials: Credentials<'_>) -> Result<TopicGrant, Refusal>;

    /// Checks a newer token for a connection to topics that was granted `held`. The new grant replaces the old.
    ///
    /// # Errors
    /// [`Refusal`], for example for another user's token. The old grant stays.
    fn refresh_topics(&self, held: &TopicGrant, token: &str) -> Result<TopicGrant, Refusal>;

    /// Checks a newer token for a connection to `stream`, or to a feed if `None`, that `holder` has opened. The new grant replaces the old.
    ///
    /// # Errors
    /// [`Refusal`], for example for another owner's token. The old grant stays.
    fn refresh(
        &self,
        stream: Option<&StreamId>,
        holder: Option<&Holder>,
        token: &str,
    ) -> Result<Grant, Refusal>;

    /// Whether a holder's key is still valid. Must not wait.
    fn holds(&self, holder: &Holder) -> bool;

    /// The users who were disconnected; `None` where nobody is.
    fn revocations(&self) -> Option<&Arc<Revocations>> {
        None
    }

    /// A number that changes with the keys. As long as it is the same, [`Admission::holds`] gives the same answers. Must not wait.
    fn version(&self) -> u64;
}
