//! Rejects secrets that can be guessed.

/// The least length of a secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// The least number of different bytes in a secret. Only one in six million outputs of `openssl rand -hex 32` has fewer.
pub const DISTINCT_BYTES: usize = 12;

/// Secrets that were published: earlier versions used this one if none was set.
const PUBLISHED: [&str; 1] = ["bond-development-secret-for-loopback-only"];

/// Why a secret can be guessed. Says nothing of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// Too few bytes.
    #[error("is shorter than {SECRET_BYTES} bytes: use `openssl rand -hex 32`")]
    Short,
    /// The same few bytes again and again.
    #[error("has fewer than {DISTINCT_BYTES} different bytes: use `openssl rand -hex 32`")]
    Monotonous,
    /// A text that everybody knows.
    #[error("was published: use `openssl rand -hex 32`")]
    Published,
}

/// Whether a text may be a secret.
///
/// # Errors
/// [`WeakSecret`].
pub fn check_secret(text: &str) -> Result<(), WeakSecret> {
    if PUBLISHED.iter().any(|published| text.contains(published)) {
        return Err(WeakSecret::Published);
    }
    if text.len() < SECRET_BYTES {
        return Err(WeakSecret::Short);
    }
    let mut seen = [false; 256];
    text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    if distinct < DISTINCT_BYTES { Err(WeakSecret::Monotonous) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_guessed_is_no_secret() {
        for (text, why) in [
            ("", Err(WeakSecret::Short)),
            ("0123456789abcdef0123456789abcde", Err(WeakSecret::Short)),
            ("0123456789abcdef0123456789abcdef", Ok(())),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Err(WeakSecret::Monotonous)),
            ("0123456789a0123456789a0123456789a", Err(WeakSecret::Monotonous)),
            ("0123456789ab0123456789ab0123456789ab", Ok(())),
            ("bond-development-secret-for-loopback-only", Err(WeakSecret::Published)),
            ("bond-development-secret-for-loopback-only ", Err(WeakSecret::Published)),
        ] {
            assert_eq!(check_secret(text), why, "{text}");
        }
    }
}
