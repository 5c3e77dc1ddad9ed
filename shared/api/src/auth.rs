//! Identifies callers, and decides whether they may call.

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bond_core::api_key::{Holder, KeyFile, Role};
use bond_core::code::Code;

use crate::keys::Keys;
use crate::local;
use crate::problem::Problem;

/// The one owner in open mode.
pub const LOCAL_OWNER: &str = "local";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose streams they manage.
    pub owner: String,
    /// What else they may do.
    pub roles: Vec<Role>,
    /// By which key they call; `None` in open mode.
    pub holder: Option<Holder>,
}

/// The rule of who may call: holders of API keys, or, in open mode (on loopback, without any keys), everybody on this machine.
#[derive(Debug)]
pub struct Access {
    keys: Keys,
    on_loopback: bool,
    takes_keys_in_urls: bool,
}

impl Access {
    /// The rule for a server with these keys. `on_loopback`: it listens on loopback only.
    pub const fn new(keys: Keys, on_loopback: bool) -> Self {
        Self { keys, on_loopback, takes_keys_in_urls: false }
    }

    /// The same rule, which also accepts API keys in URLs if `on`. URLs end up in histories and in logs of proxies, so this is risky.
    #[must_use]
    pub fn with_keys_in_urls(self, on: bool) -> Self {
        Self { takes_keys_in_urls: on, ..self }
    }

    /// Whether API keys are accepted in URLs.
    pub const fn takes_keys_in_urls(&self) -> bool {
        self.takes_keys_in_urls
    }

    /// Replaces the keys that were [given](Keys::given).
    pub fn replace_keys(&self, file: KeyFile) {
        self.keys.replace(file);
    }

    /// Whether everybody on this machine may call.
    pub fn is_open(&self) -> bool {
        self.on_loopback && !self.keys.are_required()
    }

    /// Who calls, from the headers of a request that passed [`Access::admit`].
    ///
    /// # Errors
    /// `AUTH_REQUIRED` if a key is needed and missing, `AUTH_INVALID` if the key is not valid.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.is_open() {
            let roles = vec![Role::Publisher];
            return Ok(Caller { owner: LOCAL_OWNER.to_owned(), roles, holder: None });
        }
        self.holder(authorization(headers).ok_or_else(key_required)?)
    }

    /// The holder of an API key.
    ///
    /// # Errors
    /// `AUTH_INVALID` if the text is not a key, or the key was revoked.
    pub fn holder(&self, key: &str) -> Result<Caller, Problem> {
        let entry = self.keys.find(key).ok_or_else(key_invalid)?;
        let holder = Some(entry.holder());
        Ok(Caller { owner: entry.owner, roles: entry.roles, holder })
    }

    /// Who holds the API key of this id.
    ///
    /// # Errors
    /// `AUTH_INVALID` if there is no such key, or it was revoked.
    pub fn holder_of(&self, id: &str) -> Result<Holder, Problem> {
        self.keys.by_id(id).map(|entry| entry.holder()).ok_or_else(key_revoked)
    }

    /// Whether a holder's key is still valid.
    pub fn holds(&self, holder: &Holder) -> bool {
        self.keys.has(holder)
    }

    /// A number that changes with the keys.
    pub fn version(&self) -> u64 {
        self.keys.version()
    }

    /// In open mode, refuses the requests that [`local::admit`] refuses.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub fn admit(&self, request: &Request) -> Result<(), Problem> {
        if self.is_open() { local::admit(request) } else { Ok(()) }
    }
}

fn key_invalid() -> Problem {
    let detail = "not a key of this server, or revoked: make one with `bond key new --owner NAME`";
    Problem::new(Code::AuthInvalid, detail)
}

fn key_revoked() -> Problem {
    Problem::new(
        Code::AuthInvalid,
        "the API key by which this token was got is revoked: get one with another",
    )
}

fn key_required() -> Problem {
    let detail =
        "an API key is needed: send `Authorization: Bearer bond_…`; `bond key new --owner NAME` makes one";
    Problem::new(Code::AuthRequired, detail)
}

/// The credentials in the `Authorization` header.
pub(crate) fn authorization(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The credentials of the `Bearer` scheme. The name of the scheme is case-insensitive (RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_read_whatever_the_case_of_its_name() {
        assert_eq!(bearer("Bearer bond_x"), Some("bond_x"));
        assert_eq!(bearer("bearer  bond_x "), Some("bond_x"));
        assert_eq!(bearer("Basic bond_x"), None);
        assert_eq!(bearer("bond_x"), None);
    }
}
