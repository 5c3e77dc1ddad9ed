//! Who may open a WebSocket: for a stream whoever holds a token of it, for a feed whoever may call the REST interface.

use std::sync::Arc;

use async_trait::async_trait;
use bond_core::api_key::Holder;
use bond_core::code::Code;
use bond_core::store::StreamStore;
use bond_core::time::Clock;
use bond_core::topic::StreamId;

use crate::admission::{Admission, Credentials, Grant, Refusal};
use crate::auth::{Access, Caller};
use crate::problem::Problem;
use crate::rest::RestState;
use crate::tokens::Tokens;

/// Checks what clients show, by keys and tokens alone.
#[derive(Clone)]
pub struct Checks {
    /// Who may call the REST interface.
    pub access: Arc<Access>,
    /// What checks tokens.
    pub tokens: Arc<Tokens>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

impl Checks {
    /// A newer token for a connection to `stream`, or a key for one to a feed.
    ///
    /// # Errors
    /// [`Refusal`]; the connection goes on as it was.
    pub fn refresh(&self, stream: Option<&StreamId>, token: &str) -> Result<Grant, Refusal> {
        match stream {
            Some(id) => self.token(id, token),
            None if self.access.is_open() => Ok(Grant::default()),
            None => self.key(token),
        }
    }

    fn token(&self, id: &StreamId, token: &str) -> Result<Grant, Refusal> {
        let verified = self.tokens.verify(token, id, self.clock.now());
        // An open connection is not cut when its token expires.
        let granted = verified.map(|_| Grant::default());
        granted.map_err(|error| Refusal { code: error.code(), message: error.to_string() })
    }

    fn key(&self, key: &str) -> Result<Grant, Refusal> {
        granted(self.access.holder(key))
    }
}

/// A connection stays as long as the key of its caller.
fn granted(caller: Result<Caller, Problem>) -> Result<Grant, Refusal> {
    let grant = caller.map(|caller| Grant { expires_at: None, holder: caller.holder });
    grant.map_err(|problem| refusal(&problem))
}

/// Checks tokens of streams that are still there, and keys for feeds.
#[derive(Clone)]
pub struct Gate {
    /// By keys and tokens.
    pub checks: Checks,
    /// The registry, asked whether a stream is still there.
    pub store: Arc<dyn StreamStore>,
}

impl Gate {
    /// Checks by the keys, tokens and registry that REST uses.
    pub fn of(state: &RestState) -> Self {
        let (access, tokens) = (Arc::clone(&state.access), Arc::clone(&state.tokens));
        let checks = Checks { access, tokens, clock: Arc::clone(&state.clock) };
        Self { checks, store: Arc::clone(&state.store) }
    }
}

#[async_trait]
impl Admission for Gate {
    async fn stream(&self, id: &StreamId, credentials: Credentials<'_>) -> Result<Grant, Refusal> {
        let missing = || Refusal {
            code: Code::AuthRequired,
            message: format!("no token: take ws_url from POST /v1/streams/{id}/token"),
        };
        let grant = self.checks.token(id, credentials.token.ok_or_else(missing)?)?;
        match self.store.get(id, self.checks.clock.now()).await {
            Ok(Some(_)) => Ok(grant),
            Ok(None) => Err(Refusal {
                code: Code::NotFound,
                message: format!("stream {id} has ended: create it again"),
            }),
            Err(error) => Err(Refusal { code: Code::InternalError, message: error.to_string() }),
        }
    }

    async fn feed(&self, credentials: Credentials<'_>) -> Result<Grant, Refusal> {
        match credentials.token {
            Some(key) if !self.checks.access.is_open() => self.checks.key(key),
            _ => granted(self.checks.access.caller(credentials.headers)),
        }
    }

    fn refresh(&self, stream: Option<&StreamId>, token: &str) -> Result<Grant, Refusal> {
        self.checks.refresh(stream, token)
    }

    fn holds(&self, holder: &Holder) -> bool {
        self.checks.access.holds(holder)
    }

    fn version(&self) -> u64 {
        self.checks.access.version()
    }
}

fn refusal(problem: &Problem) -> Refusal {
    Refusal { code: problem.code(), message: problem.detail().to_owned() }
}
