//! Tokens that open one stream's WebSocket until they expire.
//!
//! `v1.{kid}.{exp}.{mac}` with `exp` in Unix seconds and
//! mac = base64url(HMAC-SHA256(secret of kid, `bond.v1|{stream_id}|{exp}|{kid}`)).
//! The legacy form is `{exp}.{first 16 hex digits of HMAC-SHA256(secret, "{stream_id}.{exp}")}`.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use smol_str::{SmolStr, format_smolstr};

use crate::code::Code;
use crate::time::UnixNanos;
use crate::topic::StreamId;

/// The longest text that is looked at; every good token is shorter.
const MAX_LENGTH: usize = 128;

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form of a token.
    #[error("not a token: one looks like v1.<kid>.<expiry>.<mac>; take it whole from ws_url")]
    Malformed,
    /// Signed with a key that is not, or no longer, in use.
    #[error("signed with a key that is not in use: get a new one with POST /v1/streams/{{id}}/token")]
    UnknownKey,
    /// Altered, or made for another stream: the signature does not tell which.
    #[error(
        "altered, or made for another stream: get one for this stream with POST /v1/streams/{{id}}/token"
    )]
    Mismatch,
    /// Good once.
    #[error("expired at {0}: get a new one with POST /v1/streams/{{id}}/token")]
    Expired(UnixNanos),
    /// Of the legacy form, which is switched off.
    #[error("of the legacy form, which is off: set BOND_LEGACY_TOKENS=true, or use the token from ws_url")]
    LegacyOff,
}

impl TokenError {
    /// The code that clients see.
    pub const fn code(&self) -> Code {
        match self {
            Self::Expired(_) => Code::AuthExpired,
            _ => Code::AuthInvalid,
        }
    }
}

/// A secret that signs tokens, and its public name.
#[derive(Clone)]
pub struct TokenKey {
    kid: SmolStr,
    keyed: Hmac<Sha256>,
}

impl TokenKey {
    /// The key of `secret`. Its name is derived from it, so that a rotation needs no naming.
    pub fn new(secret: &str) -> Self {
        let keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        let name = mac(&keyed, &["bond.kid"]).finalize().into_bytes();
        let kid = format_smolstr!("{:08x}", u32::from_be_bytes([name[0], name[1], name[2], name[3]]));
        Self { kid, keyed }
    }

    fn mac(&self, stream: &str, exp: &str) -> Hmac<Sha256> {
        mac(&self.keyed, &["bond.v1|", stream, "|", exp, "|", &self.kid])
    }

    fn legacy_mac(&self, stream: &str, exp: &str) -> Hmac<Sha256> {
        mac(&self.keyed, &[stream, ".", exp])
    }
}

fn mac(keyed: &Hmac<Sha256>, parts: &[&str]) -> Hmac<Sha256> {
    let mut mac = keyed.clone();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}, ***)", self.kid)
    }
}

/// The keys in use: one that signs, and during a rotation the one before it, whose tokens are still good.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    current: TokenKey,
    previous: Option<TokenKey>,
    takes_legacy: bool,
}

impl TokenKeys {
    /// These keys, for tokens of today's form alone.
    pub const fn new(current: TokenKey, previous: Option<TokenKey>) -> Self {
        Self { current, previous, takes_legacy: false }
    }

    /// The same keys, taking tokens of the legacy form too if `on`.
    #[must_use]
    pub fn with_legacy(self, on: bool) -> Self {
        Self { takes_legacy: on, ..self }
    }

    /// A token for `stream` that is good until `ttl` after `now`, to the second.
    pub fn issue(&self, stream: &StreamId, now: UnixNanos, ttl: Duration) -> String {
        let exp = now.plus(ttl).as_secs().to_string();
        let mac = self.current.mac(stream.as_str(), &exp).finalize().into_bytes();
        format!("v1.{}.{exp}.{}", self.current.kid, URL_SAFE_NO_PAD.encode(mac))
    }

    /// Checks a token for `stream` and gives its expiry.
    ///
    /// # Errors
    /// [`TokenError`] says why it is refused; that it expired is said of authentic tokens only.
    pub fn verify(&self, token: &str, stream: &StreamId, now: UnixNanos) -> Result<UnixNanos, TokenError> {
        self.verify_name(token, stream.as_str(), now)
    }

    /// Checks a token for a stream of any name, such as those of foreign producers.
    ///
    /// # Errors
    /// As [`TokenKeys::verify`].
    pub fn verify_name(&self, token: &str, stream: &str, now: UnixNanos) -> Result<UnixNanos, TokenError> {
        if token.len() > MAX_LENGTH {
            return Err(TokenError::Malformed);
        }
        let parts: Vec<&str> = token.split('.').collect();
        let expires_at = match parts.as_slice() {
            ["v1", kid, exp, mac] => self.verify_current(kid, exp, mac, stream)?,
            [exp, mac] => self.verify_legacy(exp, mac, stream)?,
            _ => return Err(TokenError::Malformed),
        };
        if now < expires_at { Ok(expires_at) } else { Err(TokenError::Expired(expires_at)) }
    }

    fn verify_current(&self, kid: &str, exp: &str, mac: &str, stream: &str) -> Result<UnixNanos, TokenError> {
        let expires_at = parse_expiry(exp)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| TokenError::Malformed)?;
        let key = self.keys().find(|key| key.kid == kid).ok_or(TokenError::UnknownKey)?;
        key.mac(stream, exp).verify_slice(&mac).map_err(|_| TokenError::Mismatch)?;
        Ok(expires_at)
    }

    fn verify_legacy(&self, exp: &str, mac: &str, stream: &str) -> Result<UnixNanos, TokenError> {
        let expires_at = parse_expiry(exp)?;
        let mac = parse_hex(mac).ok_or(TokenError::Malformed)?;
        if !self.takes_legacy {
            return Err(TokenError::LegacyOff);
        }
        let good = |key: &TokenKey| key.legacy_mac(stream, exp).verify_truncated_left(&mac).is_ok();
        if self.keys().any(good) { Ok(expires_at) } else { Err(TokenError::Mismatch) }
    }

    fn keys(&self) -> impl Iterator<Item = &TokenKey> {
        [&self.current].into_iter().chain(&self.previous)
    }
}

fn parse_expiry(text: &str) -> Result<UnixNanos, TokenError> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let secs = if digits { text.parse().ok() } else { None };
    secs.map(UnixNanos::from_secs).ok_or(TokenError::Malformed)
}

/// Sixteen lower-case hexadecimal digits as bytes.
fn parse_hex(text: &str) -> Option<[u8; 8]> {
    let valid = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !valid {
        return None;
    }
    u64::from_str_radix(text, 16).ok().map(u64::to_be_bytes)
}

/// The text of the secret that holds token keys: `{"current": "…", "previous": "…"}`, the latter optional.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

/// Why a text is no set of token keys. Says nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It has another form.
    #[error(
        "not token keys: write {{\"current\": \"…\"}} with a secret of {SECRET_BYTES} bytes at least, and perhaps \"previous\""
    )]
    Form,
    /// A secret is too short to be one.
    #[error("a token key is too short: {SECRET_BYTES} bytes at least")]
    Short,
}

/// The shortest secret taken, in bytes.
pub const SECRET_BYTES: usize = 32;

impl KeySet {
    /// Reads the text of the secret.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn from_json(text: &str) -> Result<Self, KeySetError> {
        let set: Self = serde_json::from_str(text).map_err(|_| KeySetError::Form)?;
        let is_short = |secret: &String| secret.len() < SECRET_BYTES;
        if is_short(&set.current) || set.previous.as_ref().is_some_and(is_short) {
            return Err(KeySetError::Short);
        }
        Ok(set)
    }

    /// It as JSON, secrets included.
    pub fn to_json(&self) -> String {
        // Fails for maps without text keys and for values that refuse to be written; there are none.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// With a new key made of `random`; the current one becomes the previous one, and that one is dropped.
    #[must_use]
    pub fn rotated(self, random: &[u8; SECRET_BYTES]) -> Self {
        Self { current: URL_SAFE_NO_PAD.encode(random), previous: Some(self.current) }
    }

    /// The keys.
    pub fn keys(&self) -> TokenKeys {
        TokenKeys::new(TokenKey::new(&self.current), self.previous.as_deref().map(TokenKey::new))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySet(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const END: UnixNanos = UnixNanos::from_secs(1_700_003_600);
    /// Made with Python's `hmac`.
    const TOKEN: &str = "v1.6017ea4e.1700003600.AIhy_5etyabEoU2WcP9Jm3PiM23ru7y2qyKtxcSaZvA";
    const LEGACY: &str = "1700003600.572c90f0066c3b4c";

    #[test]
    fn a_rotation_signs_anew_and_takes_what_was_signed_before() {
        let set = KeySet::from_json(&format!("{{\"current\":\"{SECRET}\"}}")).expect("keys");
        let token = set.keys().issue(&stream(), NOW, HOUR);
        let rotated = set.rotated(&[7; SECRET_BYTES]);
        let read = KeySet::from_json(&rotated.to_json()).expect("keys");
        assert!(read.keys().verify(&token, &stream(), NOW).is_ok());
        assert_ne!(read.keys().issue(&stream(), NOW, HOUR), token);
        assert!(
            read.rotated(&[8; SECRET_BYTES]).keys().verify(&token, &stream(), NOW).is_err(),
            "two are live"
        );
    }

    #[test]
    fn a_text_that_is_no_set_of_keys_is_refused_without_being_shown() {
        assert_eq!(KeySet::from_json("{\"current\":\"short\"}"), Err(KeySetError::Short));
        for text in ["", "{}", "{\"current\":1}", "{\"current\":\"x\",\"other\":\"secret\"}"] {
            let error = KeySet::from_json(text).expect_err("refused");
            assert!(!error.to_string().contains("secret\""), "{error}");
        }
    }

    fn stream() -> StreamId {
        StreamId::parse("0123456789abcdef").expect("id")
    }

    fn keys(secret: &str, previous: Option<&str>) -> TokenKeys {
        TokenKeys::new(TokenKey::new(secret), previous.map(TokenKey::new))
    }

    #[test]
    fn a_token_is_what_the_contract_says() {
        assert_eq!(keys(SECRET, None).issue(&stream(), NOW, HOUR), TOKEN);
        assert_eq!(keys(SECRET, None).verify(TOKEN, &stream(), NOW), Ok(END));
    }

    #[test]
    fn a_token_ends_at_its_expiry() {
        let keys = keys(SECRET, None);
        let last = UnixNanos::from_nanos(END.as_nanos() - 1);
        assert_eq!(keys.verify(TOKEN, &stream(), last), Ok(END));
        let expired = keys.verify(TOKEN, &stream(), END).expect_err("expired");
        assert_eq!((expired.code(), expired), (Code::AuthExpired, TokenError::Expired(END)));
    }

    #[test]
    fn a_token_is_good_for_its_stream_and_as_it_is() {
        let keys = keys(SECRET, None);
        let other = StreamId::parse("fedcba9876543210").expect("id");
        assert_eq!(keys.verify(TOKEN, &other, NOW), Err(TokenError::Mismatch));
        for altered in [TOKEN.replace("1700003600", "1800003600"), TOKEN.replace(".AIhy", ".BIhy")] {
            let refused = keys.verify(&altered, &stream(), NOW).expect_err("altered");
            assert_eq!((refused.code(), refused), (Code::AuthInvalid, TokenError::Mismatch), "{altered}");
        }
        // An altered token that has also expired tells nothing of its expiry.
        let stale = TOKEN.replace("1700003600", "1600003600");
        assert_eq!(keys.verify(&stale, &stream(), NOW), Err(TokenError::Mismatch));
    }

    #[test]
    fn a_rotation_leaves_issued_tokens_good() {
        let rotated = keys("another secret of thirty-two bytes", Some(SECRET));
        assert_eq!(rotated.verify(TOKEN, &stream(), NOW), Ok(END));
        let new = rotated.issue(&stream(), NOW, HOUR);
        assert_ne!(new, TOKEN);
        assert_eq!(rotated.verify(&new, &stream(), NOW), Ok(END));
        let after = keys("another secret of thirty-two bytes", None);
        assert_eq!(after.verify(TOKEN, &stream(), NOW), Err(TokenError::UnknownKey));
        assert_eq!(after.verify(&new, &stream(), NOW), Ok(END));
    }

    #[test]
    fn the_legacy_form_is_behind_a_switch() {
        let keys = keys("another secret of thirty-two bytes", Some(SECRET));
        assert_eq!(keys.verify(LEGACY, &stream(), NOW), Err(TokenError::LegacyOff));
        let keys = keys.with_legacy(true);
        assert_eq!(keys.verify(LEGACY, &stream(), NOW), Ok(END));
        assert_eq!(keys.verify(LEGACY, &stream(), END), Err(TokenError::Expired(END)));
        let altered = LEGACY.replace("572c", "572d");
        assert_eq!(keys.verify(&altered, &stream(), NOW), Err(TokenError::Mismatch));
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let keys = keys(SECRET, None).with_legacy(true);
        let long = format!("{TOKEN}{}", "A".repeat(100));
        for text in [
            "",
            "v1",
            "v1.6017ea4e.1700003600",
            "v1.6017ea4e.soon.AIhy",
            "v1.6017ea4e.+1700003600.AIhy",
            "v1.6017ea4e.1700003600.!!",
            "v2.6017ea4e.1700003600.AIhy",
            "1700003600.572c90f0066c3b4",
            "1700003600.572C90F0066C3B4C",
            &long,
        ] {
            assert_eq!(keys.verify(text, &stream(), NOW), Err(TokenError::Malformed), "{text}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let shown = format!("{:?}", keys(SECRET, Some("the previous secret")));
        assert!(
            shown.contains("***") && !shown.contains(SECRET) && !shown.contains("the previous"),
            "{shown}"
        );
    }
}
