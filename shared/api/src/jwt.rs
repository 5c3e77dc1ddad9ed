//! JSON Web Tokens (RFC 7519): who a client of topics is, and what its issuer grants it.
//!
//! HS256 by a secret that Bond shares with the issuer, RS256, ES256 and EdDSA (Ed25519) by the issuer's public keys. The algorithm belongs to the key:
//! what a token's header says selects among the keys of that kind and turns none into a key of another. Time comes in as a value.

mod claims;
mod crypto;
mod jwk_set;
mod revocations;
mod static_tokens;
#[cfg(test)]
mod tests;
mod verifier;

use bond_core::code::Code;
use bond_core::grants::GrantsError;
use bond_core::time::UnixNanos;
use jsonwebtoken::errors::Error;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::Value;
use smol_str::SmolStr;

pub use self::claims::{ClaimRules, LEEWAY};
pub use self::jwk_set::{JwkSet, JwkSetError, MAX_KEYS};
pub use self::revocations::Revocations;
pub use self::static_tokens::{MAX_STATIC_TOKENS, StaticTokens, StaticTokensError};
pub use self::verifier::{MAX_TOKEN_BYTES, TokenVerifier};

/// Why a token was refused. Never shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Longer than any token that is taken.
    #[error("a token of more than {MAX_TOKEN_BYTES} bytes: put less into it")]
    TooLong,
    /// Not three parts of base64url with a readable header, or with a header that must be understood and is not.
    #[error("not a token: send a JWT whole, as in header.claims.signature in base64url")]
    Malformed,
    /// Unsigned, or signed in a way that is not taken.
    #[error("signed with an algorithm that is not taken: use HS256, RS256, ES256 or EdDSA")]
    Algorithm,
    /// There is no key for its algorithm.
    #[error(
        "there is no key for {0} tokens: set BOND_JWT_SECRET for HS256, BOND_JWKS_URL or BOND_JWKS for RS256, ES256 and EdDSA"
    )]
    NoKey(&'static str),
    /// Its `kid` is that of no key: the issuer may have a new one.
    #[error(
        "signed with a key that is not in the issuer's JWK set: connect again with a token signed by a current key"
    )]
    UnknownKey,
    /// Names no key where there are too many to try.
    #[error("names no key: sign it with a kid in its header, as the issuer has several keys")]
    NoKid,
    /// Altered, or signed with another key.
    #[error("the signature does not match: get a token from the issuer that this server trusts")]
    Signature,
    /// A claim is missing, or not of its type.
    #[error("a claim is missing or not what it must be: {0}")]
    Claim(&'static str),
    /// For something else than access.
    #[error("a refresh token is no access token: get an access token with it and send that")]
    Refresh,
    /// Not yet good.
    #[error("not good before {0}: check the clocks of issuer and server")]
    Early(UnixNanos),
    /// Good once.
    #[error("expired at {0}: get a new token")]
    Expired(UnixNanos),
    /// Its user was disconnected.
    #[error("tokens of this user are refused until {0}: the user was disconnected")]
    Revoked(UnixNanos),
    /// What it grants cannot be read or is too much.
    #[error("the token's grants cannot be used: {0}")]
    Grants(#[from] GrantsError),
}

impl JwtError {
    /// The code that clients see.
    pub const fn code(&self) -> Code {
        match self {
            Self::Expired(_) => Code::AuthExpired,
            _ => Code::AuthInvalid,
        }
    }
}

/// What a token is made of, for trying out.
#[derive(Clone, Debug, Default)]
pub struct Minting {
    /// `user_id`, and `sub`.
    pub user: SmolStr,
    /// `role`.
    pub role: Option<String>,
    /// `topics`: patterns of what may be read; `None` leaves it to the user's name.
    pub topics: Option<Vec<String>>,
    /// `publish`: patterns of what may be published to.
    pub publish: Vec<String>,
    /// `iss`, where the server asks for one.
    pub issuer: Option<String>,
    /// `aud`, where the server asks for one.
    pub audience: Option<String>,
    /// `exp`.
    pub expires_at: UnixNanos,
}

/// A token of these claims, signed with HS256.
///
/// # Errors
/// Where the secret is empty.
pub fn mint(minting: &Minting, secret: &str) -> Result<String, Error> {
    crypto::install();
    let texts = |list: &[String]| Value::from(list.to_vec());
    let publish = (!minting.publish.is_empty()).then(|| texts(&minting.publish));
    let optional = [
        ("role", minting.role.clone().map(Value::from)),
        ("topics", minting.topics.as_deref().map(texts)),
        ("publish", publish),
        ("iss", minting.issuer.clone().map(Value::from)),
        ("aud", minting.audience.clone().map(Value::from)),
    ];
    let user = minting.user.as_str();
    let mut claims = serde_json::json!({"sub": user, "user_id": user, "exp": minting.expires_at.as_secs()});
    for (name, value) in optional {
        if let Some(value) = value {
            claims[name] = value;
        }
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())?)
}
