//! `bond token rotate`: a new key that signs tokens. `bond token jwt`: a token for topics, for trying out.

use std::io::Read;
use std::time::Duration;

use bond_api::jwt::{Minting, mint};
use bond_core::clock::SystemClock;
use bond_core::grants::TopicPattern;
use bond_core::secret::Secret;
use bond_core::time::Clock;
use bond_core::token::KeySet;

use super::serve::random_bytes;
use crate::cli::JwtArgs;
use crate::config::JwtSettings;
use crate::failure::{Exit, Failure, Outcome};
use crate::{private, signing};

/// Reads the keys from standard input and writes them with a new one to standard output.
///
/// # Errors
/// Where the input is no set of keys.
pub fn rotate() -> Outcome {
    let mut text = String::new();
    std::io::stdin().take(64 * 1024).read_to_string(&mut text)?;
    let keys = KeySet::from_json(&text).map_err(|error| Failure::new(Exit::NotUnderstood, error))?;
    println!("{}", keys.rotated(&random_bytes()?).to_json());
    eprintln!("tokens signed with the key so far are good until the next rotation");
    Ok(())
}

/// Writes a token to standard output, signed with the secret that a server of the same settings and data directory takes.
///
/// # Errors
/// Where a pattern is none, or there is no secret to sign with.
pub fn jwt(args: &JwtArgs, settings: &JwtSettings) -> Outcome {
    println!("{}", minted(args, settings)?);
    Ok(())
}

/// The token.
///
/// # Errors
/// Where a pattern is none, or there is no secret to sign with.
pub fn minted(args: &JwtArgs, settings: &JwtSettings) -> Result<String, Failure> {
    for pattern in args.topics.iter().flatten().chain(&args.publish) {
        TopicPattern::parse(pattern).map_err(|error| Failure::new(Exit::NotUnderstood, error))?;
    }
    let minting = Minting {
        user: args.user.as_str().into(),
        role: args.role.clone(),
        topics: args.topics.clone(),
        publish: args.publish.clone(),
        issuer: settings.rules.issuer.clone(),
        audience: settings.rules.audience.clone(),
        expires_at: SystemClock.now().plus(args.ttl),
    };
    let token = mint(&minting, secret(args, settings)?.expose());
    token.map_err(|error| Failure::new(Exit::Failed, error))
}

fn secret(args: &JwtArgs, settings: &JwtSettings) -> Result<Secret, Failure> {
    if let Some(secret) = &settings.secret {
        return Ok(secret.clone());
    }
    if !settings.has_no_key() {
        let why = "the issuer's private key signs, as BOND_JWKS_URL or BOND_JWKS is set: set BOND_JWT_SECRET too to try out";
        return Err(Failure::new(Exit::Failed, why));
    }
    private::data_dir(&args.data_dir)?;
    let kept = signing::keep_for_jwt(&args.data_dir, random_bytes()?);
    kept.map_err(|error| Failure::new(Exit::Failed, error))
}

/// The longest life of a token for trying out.
const MAX_TTL: Duration = Duration::from_secs(365 * 86_400);

/// Reads `90s`, `30m`, `1h` or `7d`.
pub fn ttl(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let found = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let ttl = found.and_then(|(count, seconds)| count.parse::<u32>().ok().map(|n| u64::from(n) * seconds));
    let ttl = ttl.map(Duration::from_secs).filter(|ttl| (Duration::from_secs(1)..=MAX_TTL).contains(ttl));
    ttl.ok_or_else(|| "from 1s to 365d, as in 90s, 30m, 1h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_has_a_unit_and_a_bound() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h", 3600), ("365d", 31_536_000)] {
            assert_eq!(ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1", "h", "0s", "366d", "-1h", "1.5h", "4294967295d", "1 h"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }
}
