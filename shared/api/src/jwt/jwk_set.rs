//! JWK sets (RFC 7517): the public keys of an issuer.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of one set.
pub const MAX_KEYS: usize = 100;

/// The lengths of RSA keys, in bytes, that `ring` checks signatures of.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The length of a coordinate of P-256, and of a key of Ed25519.
const COORDINATE_BYTES: usize = 32;

/// Why a text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkSetError {
    /// Not JSON of the form.
    #[error(
        "not a JWK set: it looks like {{\"keys\": [{{\"kty\": \"RSA\", \"kid\": …, \"n\": …, \"e\": …}}]}}"
    )]
    Malformed,
    /// More keys than are kept.
    #[error("a JWK set of more than {MAX_KEYS} keys: leave out those that sign no more: {0}")]
    TooMany(usize),
    /// No key that can check a token.
    #[error(
        "a JWK set without a key for RS256 (2048 bits or more), ES256 or EdDSA (Ed25519) that may verify"
    )]
    NoneUsable,
}

/// One key that checks signatures of one algorithm.
#[derive(Clone)]
pub(super) struct PublicKey {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The public keys of an issuer, each for one algorithm. Keys for other ends, or of other kinds, are left out.
#[derive(Clone, Default)]
pub struct JwkSet(Vec<PublicKey>);

impl fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwkSet({} keys)", self.0.len())
    }
}

/// What is read of a key. Secret parts, which do not belong here, are not looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl JwkSet {
    /// Reads a set.
    ///
    /// # Errors
    /// [`JwkSetError`].
    pub fn from_json(text: &str) -> Result<Self, JwkSetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let Set { keys } = serde_json::from_str(text).map_err(|_| JwkSetError::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(JwkSetError::TooMany(keys.len()));
        }
        let jwks = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<PublicKey> = jwks.filter_map(Jwk::read).collect();
        if keys.is_empty() { Err(JwkSetError::NoneUsable) } else { Ok(Self(keys)) }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of one algorithm.
    pub(super) fn of(&self, algorithm: Algorithm) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().filter(move |key| key.algorithm == algorithm)
    }
}

impl Jwk {
    /// The key, if it is one that checks the signatures of tokens.
    fn read(self) -> Option<PublicKey> {
        let (algorithm, name, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, "RS256", self.rsa()?),
            ("EC", Some("P-256")) => (Algorithm::ES256, "ES256", self.p256()?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, "EdDSA", self.ed25519()?),
            _ => return None,
        };
        // RFC 9864 names Ed25519 so too.
        let is_for = |alg: &String| alg == name || (name == "EdDSA" && alg == "Ed25519");
        let verifies = self.purpose.as_ref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && self.alg.as_ref().is_none_or(is_for);
        verifies.then_some(PublicKey { kid: self.kid, algorithm, key })
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (n, e) = (decode(self.n.as_ref()?)?, decode(self.e.as_ref()?)?);
        RSA_BYTES.contains(&n.len()).then(|| DecodingKey::from_rsa_raw_components(&n, &e))
    }

    fn p256(&self) -> Option<DecodingKey> {
        let point = [&[4][..], &coordinate(self.x.as_ref()?)?, &coordinate(self.y.as_ref()?)?].concat();
        Some(DecodingKey::from_ec_der(&point))
    }

    fn ed25519(&self) -> Option<DecodingKey> {
        Some(DecodingKey::from_ed_der(&coordinate(self.x.as_ref()?)?))
    }
}

/// The number in base64url, without zeros before it.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec())
}

fn coordinate(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == COORDINATE_BYTES)
}
