//! Tokens that open one stream's WebSocket, or a feed, until they expire.
//!
//! `v1.{kid}.{exp}.{mac}` with `exp` in Unix seconds and
//! mac = base64url(HMAC-SHA256(secret of kid, `bond.v1|{stream_id}|{exp}|{kid}`)).
//! A token for feeds is `f1.{kid}.{exp}.{mac}`, and what its mac is made of `bond.f1|{exp}|{kid}`.
//! Where an API key was needed to get a token, `kid` goes on with `~` and that key's id, so that revoking the key reaches what was
//! opened with the token.
//! The legacy form is `{exp}.{first 16 hex digits of HMAC-SHA256(secret, "{stream_id}.{exp}")}`.

mod key_set;
mod secret;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use smol_str::{SmolStr, format_smolstr};

use crate::code::Code;
use crate::time::UnixNanos;
use crate::topic::StreamId;

pub use self::key_set::{KeySet, KeySetError};
pub use self::secret::{DISTINCT_BYTES, SECRET_BYTES, WeakSecret, check_secret};

/// The longest text that is looked at; every good token is shorter.
const MAX_LENGTH: usize = 128;

/// What stands between the name of the secret and the id of the API key; neither can contain it.
const KEY_MARK: char = '~';

/// What a token opens.
#[derive(Clone, Copy)]
enum Opens<'a> {
    /// The stream of this name.
    Stream(&'a str),
    Feeds,
}

impl Opens<'_> {
    const fn version(self) -> &'static str {
        match self {
            Self::Stream(_) => "v1",
            Self::Feeds => "f1",
        }
    }
}

/// The content of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When the token expires.
    pub expires_at: UnixNanos,
    /// The id of the API key with which the token was requested; `None` if none was needed.
    pub key: Option<SmolStr>,
}

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form of a token.
    #[error("not a token: one looks like v1.<kid>.<expiry>.<mac>; take it whole from ws_url")]
    Malformed,
    /// Signed with a key that is not, or no longer, in use.
    #[error(
        "signed with a key that is not in use: get a new one with POST /v1/streams/{{id}}/token or /v1/feeds/token"
    )]
    UnknownKey,
    /// Altered, or made for another stream: the signature does not tell which.
    #[error(
        "altered, or made for another stream: get one for this stream with POST /v1/streams/{{id}}/token, for feeds with POST /v1/feeds/token"
    )]
    Mismatch,
    /// Good once.
    #[error("expired at {0}: get a new one with POST /v1/streams/{{id}}/token or /v1/feeds/token")]
    Expired(UnixNanos),
    /// The token has the legacy form, which is switched off.
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
    /// The key with this secret. Its name is derived from the secret, so that nobody has to choose a name for a rotation.
    pub fn new(secret: &str) -> Self {
        let keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        let name = mac(&keyed, &["bond.kid"]).finalize().into_bytes();
        let kid = format_smolstr!("{:08x}", u32::from_be_bytes([name[0], name[1], name[2], name[3]]));
        Self { kid, keyed }
    }

    /// `name` is the whole of `kid`.
    fn mac(&self, opens: Opens<'_>, exp: &str, name: &str) -> Hmac<Sha256> {
        match opens {
            Opens::Stream(stream) => mac(&self.keyed, &["bond.v1|", stream, "|", exp, "|", name]),
            Opens::Feeds => mac(&self.keyed, &["bond.f1|", exp, "|", name]),
        }
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

/// The keys in use: the one that signs, and during a rotation the previous one, whose tokens are still accepted.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    current: TokenKey,
    previous: Option<TokenKey>,
    takes_legacy: bool,
}

impl TokenKeys {
    /// These keys, which accept only tokens of the current form.
    pub const fn new(current: TokenKey, previous: Option<TokenKey>) -> Self {
        Self { current, previous, takes_legacy: false }
    }

    /// The same keys, which also accept tokens of the legacy form if `on`.
    #[must_use]
    pub fn with_legacy(self, on: bool) -> Self {
        Self { takes_legacy: on, ..self }
    }

    /// A token for `stream` that is valid until `ttl` after `now`, to the second. `key` is the id of the API key of the caller.
    pub fn issue(&self, stream: &StreamId, key: Option<&str>, now: UnixNanos, ttl: Duration) -> String {
        self.sign(Opens::Stream(stream.as_str()), key, now.plus(ttl))
    }

    /// A token for feeds, as [`TokenKeys::issue`].
    pub fn issue_for_feeds(&self, key: Option<&str>, now: UnixNanos, ttl: Duration) -> String {
        self.sign(Opens::Feeds, key, now.plus(ttl))
    }

    fn sign(&self, opens: Opens<'_>, key: Option<&str>, expires_at: UnixNanos) -> String {
        let exp = expires_at.as_secs().to_string();
        let name = match key {
            Some(key) => format_smolstr!("{}{KEY_MARK}{key}", self.current.kid),
            None => self.current.kid.clone(),
        };
        let mac = self.current.mac(opens, &exp, &name).finalize().into_bytes();
        format!("{}.{name}.{exp}.{}", opens.version(), URL_SAFE_NO_PAD.encode(mac))
    }

    /// Checks a token for `stream`.
    ///
    /// # Errors
    /// [`TokenError`] says why the token is refused. Only an authentic token is reported as expired.
    pub fn verify(&self, token: &str, stream: &StreamId, now: UnixNanos) -> Result<Verified, TokenError> {
        self.verify_name(token, stream.as_str(), now)
    }

    /// Checks a token for a stream of any name, such as the streams that `bond broker` serves.
    ///
    /// # Errors
    /// As [`TokenKeys::verify`].
    pub fn verify_name(&self, token: &str, stream: &str, now: UnixNanos) -> Result<Verified, TokenError> {
        let verified = match parts(token)?.as_slice() {
            [exp, mac] => self.verify_legacy(exp, mac, stream)?,
            parts => self.verify_current(parts, Opens::Stream(stream))?,
        };
        verified.at(now)
    }

    /// Checks a token for feeds.
    ///
    /// # Errors
    /// As [`TokenKeys::verify`].
    pub fn verify_for_feeds(&self, token: &str, now: UnixNanos) -> Result<Verified, TokenError> {
        self.verify_current(&parts(token)?, Opens::Feeds)?.at(now)
    }

    fn verify_current(&self, parts: &[&str], opens: Opens<'_>) -> Result<Verified, TokenError> {
        let [version, name, exp, mac] = parts else { return Err(TokenError::Malformed) };
        if *version != opens.version() {
            return Err(TokenError::Malformed);
        }
        let expires_at = parse_expiry(exp)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| TokenError::Malformed)?;
        let (kid, key) = match name.split_once(KEY_MARK) {
            Some((kid, key)) => (kid, Some(key.into())),
            None => (*name, None),
        };
        let signer = self.keys().find(|key| key.kid == kid).ok_or(TokenError::UnknownKey)?;
        signer.mac(opens, exp, name).verify_slice(&mac).map_err(|_| TokenError::Mismatch)?;
        Ok(Verified { expires_at, key })
    }

    fn verify_legacy(&self, exp: &str, mac: &str, stream: &str) -> Result<Verified, TokenError> {
        let expires_at = parse_expiry(exp)?;
        let mac = parse_hex(mac).ok_or(TokenError::Malformed)?;
        if !self.takes_legacy {
            return Err(TokenError::LegacyOff);
        }
        let good = |key: &TokenKey| key.legacy_mac(stream, exp).verify_truncated_left(&mac).is_ok();
        if self.keys().any(good) { Ok(Verified { expires_at, key: None }) } else { Err(TokenError::Mismatch) }
    }

    fn keys(&self) -> impl Iterator<Item = &TokenKey> {
        [&self.current].into_iter().chain(&self.previous)
    }
}

impl Verified {
    /// It, unless it has expired by `now`.
    fn at(self, now: UnixNanos) -> Result<Self, TokenError> {
        if now < self.expires_at { Ok(self) } else { Err(TokenError::Expired(self.expires_at)) }
    }
}

fn parts(token: &str) -> Result<Vec<&str>, TokenError> {
    if token.len() > MAX_LENGTH {
        return Err(TokenError::Malformed);
    }
    Ok(token.split('.').collect())
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

    fn stream() -> StreamId {
        StreamId::parse("0123456789abcdef").expect("id")
    }

    fn good(key: Option<&str>) -> Verified {
        Verified { expires_at: END, key: key.map(Into::into) }
    }

    fn keys(secret: &str, previous: Option<&str>) -> TokenKeys {
        TokenKeys::new(TokenKey::new(secret), previous.map(TokenKey::new))
    }

    #[test]
    fn a_token_is_what_the_contract_says() {
        assert_eq!(keys(SECRET, None).issue(&stream(), None, NOW, HOUR), TOKEN);
        assert_eq!(keys(SECRET, None).verify(TOKEN, &stream(), NOW), Ok(good(None)));
    }

    #[test]
    fn a_token_ends_at_its_expiry() {
        let keys = keys(SECRET, None);
        let last = UnixNanos::from_nanos(END.as_nanos() - 1);
        assert_eq!(keys.verify(TOKEN, &stream(), last), Ok(good(None)));
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
    fn a_token_tells_by_which_api_key_it_was_got() {
        let keys = keys(SECRET, None);
        let token = keys.issue(&stream(), Some("bEPz35-2"), NOW, HOUR);
        // Made with Python's `hmac`.
        assert_eq!(token, "v1.6017ea4e~bEPz35-2.1700003600.UTETm3oTC5M10ltlofd0eQ2-h8XDmoE9zd_6JRFGFtI");
        assert_eq!(keys.verify(&token, &stream(), NOW), Ok(good(Some("bEPz35-2"))));
        for other in [token.replace("bEPz35-2", "bEPz35-3"), token.replace("~bEPz35-2", "")] {
            assert_eq!(keys.verify(&other, &stream(), NOW), Err(TokenError::Mismatch), "{other}");
        }
    }

    #[test]
    fn a_token_for_feeds_opens_no_stream_nor_the_other_way_round() {
        let keys = keys(SECRET, None).with_legacy(true);
        let token = keys.issue_for_feeds(Some("bEPz35-2"), NOW, HOUR);
        // Made with Python's `hmac`.
        assert_eq!(token, "f1.6017ea4e~bEPz35-2.1700003600.wIPmWntF8k_-nJhcdPTnkQ22q_aZd9CAiiAn8N0RP8g");
        assert_eq!(keys.verify_for_feeds(&token, NOW), Ok(good(Some("bEPz35-2"))));
        assert_eq!(keys.verify_for_feeds(&token, END), Err(TokenError::Expired(END)));
        assert_eq!(keys.verify(&token, &stream(), NOW), Err(TokenError::Malformed));
        assert_eq!(keys.verify(&token.replace("f1.", "v1."), &stream(), NOW), Err(TokenError::Mismatch));
        for other in [TOKEN, LEGACY] {
            assert_eq!(keys.verify_for_feeds(other, NOW), Err(TokenError::Malformed), "{other}");
        }
        assert_eq!(keys.verify_for_feeds(&TOKEN.replace("v1.", "f1."), NOW), Err(TokenError::Mismatch));
    }

    #[test]
    fn a_rotation_leaves_issued_tokens_good() {
        let rotated = keys("another secret of thirty-two bytes", Some(SECRET));
        assert_eq!(rotated.verify(TOKEN, &stream(), NOW), Ok(good(None)));
        let new = rotated.issue(&stream(), None, NOW, HOUR);
        assert_ne!(new, TOKEN);
        assert_eq!(rotated.verify(&new, &stream(), NOW), Ok(good(None)));
        let after = keys("another secret of thirty-two bytes", None);
        assert_eq!(after.verify(TOKEN, &stream(), NOW), Err(TokenError::UnknownKey));
        assert_eq!(after.verify(&new, &stream(), NOW), Ok(good(None)));
    }

    #[test]
    fn the_legacy_form_is_behind_a_switch() {
        let keys = keys("another secret of thirty-two bytes", Some(SECRET));
        assert_eq!(keys.verify(LEGACY, &stream(), NOW), Err(TokenError::LegacyOff));
        let keys = keys.with_legacy(true);
        assert_eq!(keys.verify(LEGACY, &stream(), NOW), Ok(good(None)));
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
