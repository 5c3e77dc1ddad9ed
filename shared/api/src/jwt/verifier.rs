//! Checks tokens by the keys of the moment.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bond_core::grants::Grants;
use bond_core::time::UnixNanos;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Notify;

use super::claims::{ClaimRules, Claims};
use super::jwk_set::JwkSet;
use super::revocations::Revocations;
use super::static_tokens::StaticTokens;
use super::{JwtError, crypto};

/// The longest token that is looked at.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// How many keys are tried for a token that names none.
const MAX_TRIES: usize = 4;

/// Checks the tokens of clients of topics: JWTs by the issuer's secrets and public keys, and static tokens.
pub struct TokenVerifier {
    secrets: RwLock<Vec<DecodingKey>>,
    set: RwLock<JwkSet>,
    static_tokens: StaticTokens,
    rules: ClaimRules,
    unknown_key: Notify,
    revocations: Arc<Revocations>,
}

impl Default for TokenVerifier {
    /// Takes none.
    fn default() -> Self {
        Self::new(&[], ClaimRules::default())
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenVerifier({} secrets, {:?}, ***)", self.secrets.read().len(), self.set.read())
    }
}

/// What is read of a token's header. Nothing else in it decides anything: no key is taken from a token.
#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
}

impl TokenVerifier {
    /// By these secrets, the current one first. An empty one is left out.
    pub fn new(secrets: &[&str], rules: ClaimRules) -> Self {
        crypto::install();
        Self {
            secrets: RwLock::new(decoding_keys(secrets)),
            set: RwLock::default(),
            static_tokens: StaticTokens::default(),
            rules,
            unknown_key: Notify::new(),
            revocations: Arc::default(),
        }
    }

    /// The same, taking static tokens too.
    #[must_use]
    pub fn with_static_tokens(self, static_tokens: StaticTokens) -> Self {
        Self { static_tokens, ..self }
    }

    /// By these public keys from here on.
    pub fn replace(&self, set: JwkSet) {
        *self.set.write() = set;
    }

    /// By these secrets from here on, the current one first.
    pub fn replace_secrets(&self, secrets: &[&str]) {
        *self.secrets.write() = decoding_keys(secrets);
    }

    /// Waits until a token has come whose key is not in the set, since this was asked last. Cancel-safe.
    pub async fn unknown_key(&self) {
        self.unknown_key.notified().await;
    }

    /// What a token grants at `now`.
    ///
    /// # Errors
    /// [`JwtError`] says why it is refused.
    pub fn verify(&self, token: &str, now: UnixNanos) -> Result<Grants, JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::TooLong);
        }
        let grants = match self.static_tokens.find(token, &self.rules) {
            Some(grants) => grants,
            None => {
                let header = TokenHeader::of(token).ok_or(JwtError::Malformed)?;
                self.claims(token, &header)?.grants(&self.rules, now)?
            }
        };
        let refused = grants.user().and_then(|user| self.revocations.refused_until(user, now));
        refused.map_or(Ok(grants), |until| Err(JwtError::Revoked(until)))
    }

    /// The users whose tokens are refused.
    pub const fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The claims of a token whose signature is good.
    fn claims(&self, token: &str, header: &TokenHeader) -> Result<Claims, JwtError> {
        let (algorithm, name) = header.algorithm().ok_or(JwtError::Algorithm)?;
        if algorithm == Algorithm::HS256 {
            return read(token, algorithm, name, &self.secrets.read());
        }
        let keys = choose(&self.set.read(), algorithm, header.kid.as_deref());
        let claims = keys.and_then(|keys| read(token, algorithm, name, &keys));
        if matches!(claims, Err(JwtError::UnknownKey | JwtError::NoKey(_))) {
            self.unknown_key.notify_one();
        }
        claims
    }
}

fn decoding_keys(secrets: &[&str]) -> Vec<DecodingKey> {
    secrets.iter().filter_map(|secret| DecodingKey::from_secret(secret.as_bytes()).ok()).collect()
}

impl TokenHeader {
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let header = parts.next()?;
        (parts.count() == 2).then_some(())?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()
    }

    fn algorithm(&self) -> Option<(Algorithm, &'static str)> {
        Some(match self.alg.as_str() {
            "HS256" => (Algorithm::HS256, "HS256"),
            "RS256" => (Algorithm::RS256, "RS256"),
            "ES256" => (Algorithm::ES256, "ES256"),
            "EdDSA" => (Algorithm::EdDSA, "EdDSA"),
            _ => return None,
        })
    }
}

/// The keys of `algorithm` that may have signed a token which names `kid`: those of that name, else those without one.
fn choose(set: &JwkSet, algorithm: Algorithm, kid: Option<&str>) -> Result<Vec<DecodingKey>, JwtError> {
    let named = |wanted: Option<&str>| {
        let keys = set.of(algorithm).filter(|key| key.kid.as_deref() == wanted);
        keys.map(|key| key.key.clone()).collect::<Vec<_>>()
    };
    let keys = match kid.map(|kid| named(Some(kid))) {
        None => set.of(algorithm).map(|key| key.key.clone()).collect(),
        Some(keys) if keys.is_empty() => named(None),
        Some(keys) => keys,
    };
    match keys.len() {
        0 if set.is_empty() => Ok(keys),
        0 => Err(JwtError::UnknownKey),
        1..=MAX_TRIES => Ok(keys),
        _ => Err(JwtError::NoKid),
    }
}

fn read(
    token: &str,
    algorithm: Algorithm,
    name: &'static str,
    keys: &[DecodingKey],
) -> Result<Claims, JwtError> {
    if keys.is_empty() {
        return Err(JwtError::NoKey(name));
    }
    // Of the claims the library checks none: it would read the system's clock.
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let mut read = keys.iter().map(|key| decode(token, key, &validation));
    match read.find(|read| !matches!(read, Err(error) if is_mismatch(error))) {
        Some(Ok(data)) => Ok(Claims(data.claims)),
        Some(Err(_)) => Err(JwtError::Malformed),
        None => Err(JwtError::Signature),
    }
}

fn is_mismatch(error: &jsonwebtoken::errors::Error) -> bool {
    matches!(error.kind(), jsonwebtoken::errors::ErrorKind::InvalidSignature)
}
