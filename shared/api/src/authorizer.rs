//! Decides who may open a WebSocket. A stream needs a token of the stream. A feed needs a token for feeds, or the right to call the REST
//! interface.

use std::sync::Arc;

use async_trait::async_trait;
use bond_core::api_key::{Holder, PREFIX, Role};
use bond_core::code::Code;
use bond_core::grants::{self, Grants};
use bond_core::store::{Claim, StreamStore};
use bond_core::time::Clock;
use bond_core::token::TokenError;
use bond_core::topic::StreamId;

use crate::admission::{Admission, Credentials, Grant, Refusal, Shown, TopicGrant};
use crate::auth::{Access, Caller};
use crate::jwt::{JwtError, Revocations};
use crate::problem::Problem;
use crate::rest::RestState;
use crate::tokens::Tokens;

/// Checks credentials by keys and tokens, without the registry.
#[derive(Clone)]
pub struct Checks {
    /// The rule of who may call the REST interface.
    pub access: Arc<Access>,
    /// The keys that check tokens.
    pub tokens: Arc<Tokens>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

impl Checks {
    /// Checks a newer token for a connection to `stream`, or a token or key for one to a feed, that `holder` has opened.
    ///
    /// # Errors
    /// [`Refusal`]. The old grant stays.
    pub fn refresh(
        &self,
        stream: Option<&StreamId>,
        holder: Option<&Holder>,
        token: &str,
    ) -> Result<Grant, Refusal> {
        let grant = match stream {
            Some(id) => self.token(id, token)?,
            None if self.access.is_open() => Grant::default(),
            None => self.credential(token)?,
        };
        let is_of_another = |granted: &Holder| holder.is_some_and(|holder| holder.owner != granted.owner);
        if grant.holder.as_ref().is_some_and(is_of_another) {
            let message = "of another owner than the one who opened this connection: connect anew";
            return Err(Refusal { code: Code::AuthInvalid, message: message.to_owned() });
        }
        // If the token names no key, the connection still depends on the key that opened it.
        Ok(Grant { holder: grant.holder.or_else(|| holder.cloned()), ..grant })
    }

    /// Checks a token of a stream. The connection stays open when the token expires, but is closed when the key behind the token is revoked.
    fn token(&self, id: &StreamId, token: &str) -> Result<Grant, Refusal> {
        let verified = self.tokens.verify(token, id, self.clock.now()).map_err(|error| unverified(&error))?;
        let holder = verified.key.map(|key| self.access.holder_of(&key)).transpose();
        Ok(Grant { expires_at: None, holder: holder.map_err(|problem| refusal(&problem))? })
    }

    /// Checks a credential for a feed: a token for feeds, or an API key.
    fn credential(&self, text: &str) -> Result<Grant, Refusal> {
        if text.starts_with(PREFIX) {
            return granted(self.access.holder(text));
        }
        let verified =
            self.tokens.verify_for_feeds(text, self.clock.now()).map_err(|error| unverified(&error))?;
        let key = verified.key.ok_or_else(|| Refusal {
            code: Code::AuthInvalid,
            message: "got while no API keys were needed: get one with POST /v1/feeds/token".to_owned(),
        })?;
        let holder = self.access.holder_of(&key).map_err(|problem| refusal(&problem))?;
        Ok(Grant { expires_at: None, holder: Some(holder) })
    }

    /// Refuses an API key in a URL unless that is switched on. `instead` names what may stand there.
    fn admits_in_url(&self, shown: &Shown, instead: &str) -> Result<(), Refusal> {
        if !shown.in_url || !shown.text.starts_with(PREFIX) || self.access.takes_keys_in_urls() {
            return Ok(());
        }
        let message = format!(
            "API keys are not taken in URLs: send `Authorization: Bearer …` or the subprotocol bond.bearer.{{base64url of it}}, put {instead} \
             into the URL, or set BOND_KEYS_IN_URLS=true"
        );
        Err(Refusal { code: Code::AuthInvalid, message })
    }

    /// Decides about a connection to topics.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn topics(&self, credentials: Credentials<'_>) -> Result<TopicGrant, Refusal> {
        match credentials.shown() {
            Some(shown) => {
                self.admits_in_url(&shown, "a JWT")?;
                self.topic_grant(&shown.text)
            }
            None if self.access.is_open() => Ok(TopicGrant { grants: Grants::open(), holder: None }),
            None => Err(Refusal::token_required()),
        }
    }

    /// Checks a newer token for a connection to topics that was granted `held`.
    ///
    /// # Errors
    /// [`Refusal`]; the connection goes on as it was.
    pub fn refresh_topics(&self, held: &TopicGrant, token: &str) -> Result<TopicGrant, Refusal> {
        let granted = self.topic_grant(token)?;
        let owner = |grant: &TopicGrant| grant.holder.as_ref().map(|holder| holder.owner.clone());
        let is_same = held.grants.user() == granted.grants.user() && owner(held) == owner(&granted);
        if is_same || held.grants.is_open() {
            return Ok(granted);
        }
        let message = "of another user than the one who opened this connection: connect anew";
        Err(Refusal { code: Code::AuthInvalid, message: message.to_owned() })
    }

    fn topic_grant(&self, text: &str) -> Result<TopicGrant, Refusal> {
        if text.starts_with(PREFIX) {
            let caller = self.access.holder(text).map_err(|problem| refusal(&problem))?;
            let grants = grants::of_key(caller.roles.contains(&Role::Publisher));
            return Ok(TopicGrant { grants, holder: caller.holder });
        }
        let verified = self.tokens.topics().verify(text, self.clock.now());
        let refused = |error: JwtError| Refusal { code: error.code(), message: error.to_string() };
        Ok(TopicGrant { grants: verified.map_err(refused)?, holder: None })
    }
}

/// The grant of a caller of the REST interface. The connection stays as long as the caller's key is valid.
fn granted(caller: Result<Caller, Problem>) -> Result<Grant, Refusal> {
    let grant = caller.map(|caller| Grant { expires_at: None, holder: caller.holder });
    grant.map_err(|problem| refusal(&problem))
}

fn unverified(error: &TokenError) -> Refusal {
    Refusal { code: error.code(), message: error.to_string() }
}

/// Checks credentials, and that a token's stream still exists.
#[derive(Clone)]
pub struct ConnectionAuthorizer {
    /// The checks by keys and tokens.
    pub checks: Checks,
    /// The registry, which knows whether a stream exists.
    pub store: Arc<dyn StreamStore>,
}

impl ConnectionAuthorizer {
    /// An authorizer with the keys, tokens and registry that REST uses.
    pub fn of(state: &RestState) -> Self {
        let (access, tokens) = (Arc::clone(&state.access), Arc::clone(&state.tokens));
        let checks = Checks { access, tokens, clock: Arc::clone(&state.clock) };
        Self { checks, store: Arc::clone(&state.store) }
    }
}

#[async_trait]
impl Admission for ConnectionAuthorizer {
    async fn stream(&self, id: &StreamId, credentials: Credentials<'_>) -> Result<Grant, Refusal> {
        let missing = || Refusal {
            code: Code::AuthRequired,
            message: format!("no token: take ws_url from POST /v1/streams/{id}/token"),
        };
        let token = credentials.token.map(str::to_owned).or_else(|| credentials.bearer());
        let grant = self.checks.token(id, &token.ok_or_else(missing)?)?;
        match self.store.get(id, self.checks.clock.now()).await {
            Ok(Some((_, claims))) if has_claim(&grant, &claims) => Ok(grant),
            Ok(_) => Err(Refusal {
                code: Code::NotFound,
                message: format!("stream {id} has ended: create it again"),
            }),
            Err(error) => Err(Refusal { code: Code::InternalError, message: error.to_string() }),
        }
    }

    async fn feed(&self, credentials: Credentials<'_>) -> Result<Grant, Refusal> {
        let Checks { access, .. } = &self.checks;
        if access.is_open() {
            return Ok(Grant::default());
        }
        match credentials.shown() {
            Some(shown) => {
                self.checks.admits_in_url(&shown, "a token from POST /v1/feeds/token")?;
                self.checks.credential(&shown.text)
            }
            None => granted(access.caller(credentials.headers)),
        }
    }

    fn topics(&self, credentials: Credentials<'_>) -> Result<TopicGrant, Refusal> {
        self.checks.topics(credentials)
    }

    fn refresh_topics(&self, held: &TopicGrant, token: &str) -> Result<TopicGrant, Refusal> {
        self.checks.refresh_topics(held, token)
    }

    fn refresh(
        &self,
        stream: Option<&StreamId>,
        holder: Option<&Holder>,
        token: &str,
    ) -> Result<Grant, Refusal> {
        self.checks.refresh(stream, holder, token)
    }

    fn holds(&self, holder: &Holder) -> bool {
        self.checks.access.holds(holder)
    }

    fn revocations(&self) -> Option<&Arc<Revocations>> {
        Some(self.checks.tokens.topics().revocations())
    }

    fn version(&self) -> u64 {
        self.checks.access.version()
    }
}

/// Whether the owner whose key is behind the token still has a claim. A token without a key was made by a holder of the secret, and is
/// accepted.
fn has_claim(grant: &Grant, claims: &[Claim]) -> bool {
    grant.holder.as_ref().is_none_or(|holder| claims.iter().any(|claim| claim.owner == holder.owner))
}

fn refusal(problem: &Problem) -> Refusal {
    Refusal { code: problem.code(), message: problem.detail().to_owned() }
}

#[cfg(test)]
mod tests;
