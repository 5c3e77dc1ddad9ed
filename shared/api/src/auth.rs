//! Who calls, and whether they may.

use axum::extract::Request;
use axum::http::{HeaderMap, Uri, header};
use bond_core::api_key::{Holder, KeyFile, Role};
use bond_core::code::Code;

use crate::keys::Keys;
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

/// The rule of who may call: holders of keys, or, on loopback without any keys, everybody on this machine.
#[derive(Debug)]
pub struct Access {
    keys: Keys,
    on_loopback: bool,
}

impl Access {
    /// With these keys, listening on loopback alone or not.
    pub const fn new(keys: Keys, on_loopback: bool) -> Self {
        Self { keys, on_loopback }
    }

    /// Lets the holders of these keys call, in the place of those that were [given](Keys::given).
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
    /// `AUTH_REQUIRED` without a key where one is needed, `AUTH_INVALID` for one that is not good.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.is_open() {
            let roles = vec![Role::Publisher];
            return Ok(Caller { owner: LOCAL_OWNER.to_owned(), roles, holder: None });
        }
        let given = headers.get(header::AUTHORIZATION).ok_or_else(key_required)?;
        self.holder(bearer(given.to_str().unwrap_or_default()).ok_or_else(key_required)?)
    }

    /// The holder of an API key.
    ///
    /// # Errors
    /// `AUTH_INVALID` where it is none, or was revoked.
    pub fn holder(&self, key: &str) -> Result<Caller, Problem> {
        let entry = self.keys.find(key).ok_or_else(key_invalid)?;
        let holder = Some(entry.holder());
        Ok(Caller { owner: entry.owner, roles: entry.roles, holder })
    }

    /// Whether a holder's key is still good.
    pub fn holds(&self, holder: &Holder) -> bool {
        self.keys.has(holder)
    }

    /// A number that changes when the keys do.
    pub fn version(&self) -> u64 {
        self.keys.version()
    }

    /// Refuses, in open mode, what a web page of another origin could send: a request whose `Host` or
    /// `Origin` is not loopback.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub fn admit(&self, request: &Request) -> Result<(), Problem> {
        if !self.is_open() || (is_loopback_host(request) && has_loopback_origin(request.headers())) {
            return Ok(());
        }
        let detail = "without API keys only this machine may call: use http://localhost, or make a key with \
                      `bond key new --owner NAME`";
        Err(Problem::new(Code::Forbidden, detail))
    }
}

fn key_invalid() -> Problem {
    let detail = "not a key of this server, or revoked: make one with `bond key new --owner NAME`";
    Problem::new(Code::AuthInvalid, detail)
}

fn key_required() -> Problem {
    let detail =
        "an API key is needed: send `Authorization: Bearer bond_…`; `bond key new --owner NAME` makes one";
    Problem::new(Code::AuthRequired, detail)
}

/// The credentials of the `Bearer` scheme, whose name is read in any case (RFC 9110, section 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim())
}

fn is_loopback_host(request: &Request) -> bool {
    let hosts =
        request.headers().get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    let target = request.uri().authority().map(|authority| authority.as_str());
    let mut names = hosts.chain(target).peekable();
    names.peek().is_some() && names.all(is_loopback_authority)
}

fn has_loopback_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.all(|origin| origin.to_str().is_ok_and(is_loopback_url))
}

fn is_loopback_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    uri.scheme().is_some()
        && uri.authority().is_some_and(|authority| is_loopback_authority(authority.as_str()))
}

/// Whether `text` is one of loopback's names, with any port. A name that merely resolves to loopback is not:
/// that is what DNS rebinding does.
fn is_loopback_authority(text: &str) -> bool {
    let names = ["localhost", "127.0.0.1", "[::1]"];
    names.iter().any(|name| match text.get(..name.len()) {
        Some(head) if head.eq_ignore_ascii_case(name) => is_port(&text[name.len()..]),
        _ => false,
    })
}

fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_names_alone() {
        for name in ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_authority(name), "{name}");
        }
        for name in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "evil.example:8000",
            "127.0.0.1.nip.io",
            "127.0.0.10",
            "0.0.0.0",
            "::1",
            "[::1]evil",
            "user@localhost",
        ] {
            assert!(!is_loopback_authority(name), "{name}");
        }
    }

    #[test]
    fn an_origin_is_loopback_whatever_its_scheme_and_port() {
        for url in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8000"] {
            assert!(is_loopback_url(url), "{url}");
        }
        for url in
            ["null", "", "https://evil.example", "http://localhost.evil.example", "file://", "localhost"]
        {
            assert!(!is_loopback_url(url), "{url}");
        }
    }

    #[test]
    fn a_bearer_is_read_whatever_the_case_of_its_name() {
        assert_eq!(bearer("Bearer bond_x"), Some("bond_x"));
        assert_eq!(bearer("bearer  bond_x "), Some("bond_x"));
        assert_eq!(bearer("Basic bond_x"), None);
        assert_eq!(bearer("bond_x"), None);
    }
}
