//! The keys that sign tokens, as the text of a secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{SECRET_BYTES, TokenKey, TokenKeys, WeakSecret, check_secret};

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
    /// A secret can be guessed.
    #[error("a token key {0}")]
    Weak(#[from] WeakSecret),
}

impl KeySet {
    /// Reads the text of the secret.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn from_json(text: &str) -> Result<Self, KeySetError> {
        let set: Self = serde_json::from_str(text).map_err(|_| KeySetError::Form)?;
        [&set.current].into_iter().chain(&set.previous).try_for_each(|secret| check_secret(secret))?;
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
    use std::time::Duration;

    use super::*;
    use crate::time::UnixNanos;
    use crate::topic::StreamId;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn random(seed: u8) -> [u8; SECRET_BYTES] {
        std::array::from_fn(|n| seed.wrapping_add(u8::try_from(n * 37 % 256).unwrap_or_default()))
    }

    #[test]
    fn a_rotation_signs_anew_and_takes_what_was_signed_before() {
        let stream = StreamId::parse("0123456789abcdef").expect("id");
        let set = KeySet::from_json(&format!("{{\"current\":\"{SECRET}\"}}")).expect("keys");
        let token = set.keys().issue(&stream, None, NOW, HOUR);
        let rotated = set.rotated(&random(1));
        let read = KeySet::from_json(&rotated.to_json()).expect("keys");
        assert!(read.keys().verify(&token, &stream, NOW).is_ok());
        assert_ne!(read.keys().issue(&stream, None, NOW, HOUR), token);
        assert!(read.rotated(&random(2)).keys().verify(&token, &stream, NOW).is_err(), "two are live");
    }

    #[test]
    fn a_text_that_is_no_set_of_keys_is_refused_without_being_shown() {
        assert_eq!(KeySet::from_json("{\"current\":\"short\"}"), Err(KeySetError::Weak(WeakSecret::Short)));
        for text in ["", "{}", "{\"current\":1}", "{\"current\":\"x\",\"other\":\"secret\"}"] {
            let error = KeySet::from_json(text).expect_err("refused");
            assert!(!error.to_string().contains("secret\""), "{error}");
        }
    }
}
