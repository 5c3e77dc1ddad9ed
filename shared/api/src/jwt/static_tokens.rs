//! Tokens that stand in the settings, for tests on one's own machine.

use std::fmt;

use bond_core::grants::{Grants, GrantsParts};
use bond_core::topic::is_segment;
use smol_str::SmolStr;
use subtle::ConstantTimeEq;

use super::claims::{ClaimRules, is_admin, of_user};

/// The most static tokens.
pub const MAX_STATIC_TOKENS: usize = 100;

/// The longest static token, in bytes.
const MAX_BYTES: usize = 128;

/// One of them.
#[derive(Clone, PartialEq, Eq)]
struct StaticToken {
    text: String,
    user: SmolStr,
    role: Option<SmolStr>,
}

/// Tokens that never expire, each of one user: everybody who knows the settings has them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StaticTokens(Vec<StaticToken>);

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({} tokens, ***)", self.0.len())
    }
}

/// A text that is no list of static tokens. Does not show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be at most {MAX_STATIC_TOKENS} of token:user or token:user:role, comma-separated, the token of 1 to {MAX_BYTES} bytes, the user of \
     1 to 64 letters, digits, _ and -: see number {0}"
)]
pub struct StaticTokensError(usize);

impl StaticTokens {
    /// Reads `token:user[:role]`, comma-separated.
    ///
    /// # Errors
    /// [`StaticTokensError`] with the number of the first that cannot be used, from 1.
    pub fn parse(text: &str) -> Result<Self, StaticTokensError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let tokens = parts.enumerate().map(|(at, part)| {
            let token = (at < MAX_STATIC_TOKENS).then(|| StaticToken::parse(part)).flatten();
            token.ok_or(StaticTokensError(at + 1))
        });
        tokens.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the token grants that `text` is. Takes the same time whichever it is, if any.
    pub(super) fn find(&self, text: &str, rules: &ClaimRules) -> Option<Grants> {
        let mut found = None;
        for token in &self.0 {
            if token.text.as_bytes().ct_eq(text.as_bytes()).into() {
                found = Some(token);
            }
        }
        found.and_then(|token| token.grants(rules))
    }
}

impl StaticToken {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (token, user, role) = (parts.next()?, parts.next()?, parts.next());
        let is_whole = parts.next().is_none()
            && (1..=MAX_BYTES).contains(&token.len())
            && is_segment(user)
            && role.is_none_or(is_segment);
        is_whole.then(|| Self { text: token.into(), user: user.into(), role: role.map(Into::into) })
    }

    fn grants(&self, rules: &ClaimRules) -> Option<Grants> {
        let is_admin = self.role.as_deref().is_some_and(is_admin);
        let read = of_user(&self.user, is_admin && rules.admin_reads_all);
        Grants::new(GrantsParts { user: Some(self.user.clone()), read, ..GrantsParts::default() }).ok()
    }
}
