//! Identifiers in the forms that AWS gives them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use rand::RngExt;

const CAPITALS_AND_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A request's: a random UUID.
pub(crate) fn request_id() -> String {
    let bits: u128 = rand::rng().random();
    // Version 4, variant 1 (RFC 9562).
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A connection's: 16 characters that end with `=`, and so must be percent-encoded in a path.
pub(crate) fn connection_id() -> String {
    URL_SAFE.encode(rand::rng().random::<[u8; 11]>())
}

/// An access key's, of temporary credentials: `ASIA` and 16 capitals or digits.
pub(crate) fn access_key() -> String {
    let mut rng = rand::rng();
    let letters =
        std::iter::repeat_with(|| CAPITALS_AND_DIGITS[rng.random_range(0..CAPITALS_AND_DIGITS.len())]);
    std::iter::once("ASIA".to_owned())
        .chain(letters.take(16).map(|letter| char::from(letter).to_string()))
        .collect()
}

/// What AWS X-Ray's header holds, for a trace that is not sampled.
pub(crate) fn trace_id(now_ms: u64) -> String {
    let mut rng = rand::rng();
    let (root, parent): ([u32; 3], u64) = (rng.random(), rng.random());
    format!(
        "Root=1-{:08x}-{:08x}{:08x}{:08x};Parent={parent:016x};Sampled=0",
        now_ms / 1000,
        root[0],
        root[1],
        root[2]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_random_uuid() {
        let id = request_id();
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!("89ab".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn a_connection_id_has_16_characters_and_ends_with_padding() {
        let id = connection_id();
        assert_eq!((id.len(), id.matches('=').count(), id.ends_with('=')), (16, 1, true), "{id}");
    }

    #[test]
    fn an_access_key_is_of_temporary_credentials() {
        let key = access_key();
        assert!(key.len() == 20 && key.starts_with("ASIA"), "{key}");
    }
}
