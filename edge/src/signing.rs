//! Decides which secret signs tokens, and which settings are required before clients may connect.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bond_api::jwt::TokenVerifier;
use bond_core::settings::SettingsError;
use bond_core::token::{SECRET_BYTES, TokenKey, TokenKeys, check_secret};

use crate::config::{JwtSettings, Settings};
use bond_core::secret::Secret;

/// The name of the file in the data directory with the secret of streams' tokens that is generated if none is set.
const FILE: &str = "secret";

/// The name of the file with the secret of JWTs that is generated if no key of an issuer is set.
const JWT_FILE: &str = "jwt-secret";

/// The facts about a process that decide where its secret comes from.
#[derive(Clone, Copy, Debug)]
pub struct SecretPlace {
    /// The address it listens on.
    pub bind: IpAddr,
    /// Whether API keys are required.
    pub has_keys: bool,
    /// Whether it shares a Redis with other processes, whose tokens it must accept.
    pub has_redis: bool,
}

/// Where the secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The secret was set.
    Set(Secret),
    /// The secret is generated once and kept in the data directory. This is done only in open mode, in which everybody who can read the
    /// directory may call anyway.
    Directory,
    /// The same, but kept in Redis, so that all processes on it use the same secret. Whoever can read it there can read all events too.
    Redis,
}

/// Decides where the secret comes from, and checks that no required setting is missing.
///
/// # Errors
/// [`SettingsError`] with everything that is missing. The secret may be left out only in open mode, that is on loopback and without keys.
/// Where keys are required, a token that another process or an earlier run in open mode has signed must not be accepted.
pub fn decide(settings: &Settings, place: SecretPlace) -> Result<Origin, SettingsError> {
    let problems = missing(settings, place);
    if !problems.is_empty() {
        return Err(SettingsError(problems));
    }
    Ok(match &settings.secret {
        Some(secret) => Origin::Set(secret.clone()),
        None if place.has_redis => Origin::Redis,
        None => Origin::Directory,
    })
}

fn missing(settings: &Settings, place: SecretPlace) -> Vec<String> {
    let (bind, on_loopback) = (place.bind, place.bind.is_loopback());
    let mut problems = Vec::new();
    if settings.secret.is_none() && (place.has_keys || !on_loopback) {
        let why =
            if on_loopback { "there are API keys".to_owned() } else { format!("{bind} is not loopback") };
        problems.push(secret_missing(&why));
    }
    if !on_loopback && !place.has_keys {
        problems.push(format!(
            "{bind} is not loopback, and there are no API keys: make one with `bond key new --owner NAME` in the same data directory"
        ));
    }
    if !on_loopback && settings.ws_host.is_none() {
        problems.push(format!(
            "WS_HOST is not set, and {bind} is not loopback: set it to where clients find this server, as in wss://feed.example"
        ));
    }
    problems.extend(static_tokens_off_loopback(settings, bind));
    problems
}

/// Static tokens stand in documents, so that anybody may know them: they are refused unless only this machine can connect.
fn static_tokens_off_loopback(settings: &Settings, bind: IpAddr) -> Option<String> {
    let why = match (bind.is_loopback(), settings.serves_outside()) {
        (false, _) => format!("{bind} is not loopback"),
        (true, true) => "WS_HOST names another host".to_owned(),
        (true, false) => return None,
    };
    (!settings.jwt.static_tokens.is_empty()).then(|| static_tokens_refused(&why))
}

/// The error text for static tokens where clients on other machines could use them.
pub fn static_tokens_refused(why: &str) -> String {
    format!(
        "BOND_STATIC_TOKENS is for this machine alone, and {why}: leave it out, and set BOND_JWT_SECRET, BOND_JWKS_URL or BOND_JWKS for tokens of an \
         issuer"
    )
}

/// The verifier of tokens for topics. On loopback, if no key of an issuer is set, it accepts tokens that are signed with the secret in the data
/// directory. Whoever can read that directory may call anyway.
///
/// # Errors
/// [`KeepError`].
pub fn token_verifier(
    jwt: &JwtSettings,
    bind: IpAddr,
    data_dir: &Path,
    random: [u8; SECRET_BYTES],
) -> Result<TokenVerifier, KeepError> {
    let kept =
        (jwt.has_no_key() && bind.is_loopback()).then(|| keep_for_jwt(data_dir, random)).transpose()?;
    Ok(jwt.verifier(kept.as_ref()))
}

/// Like [`keep`], for the secret of JWTs.
///
/// # Errors
/// [`KeepError`].
pub fn keep_for_jwt(data_dir: &Path, random: [u8; SECRET_BYTES]) -> Result<Secret, KeepError> {
    keep_in(&data_dir.join(JWT_FILE), random)
}

/// The error text for a secret that must be set.
pub fn secret_missing(why: &str) -> String {
    format!(
        "BOND_SECRET is not set, and {why}: set it to at least {SECRET_BYTES} random bytes, such as the output of `openssl rand -hex 32`"
    )
}

/// The token keys of `secret`, and of the previous secret if that is set.
pub fn token_keys(secret: &Secret, settings: &Settings) -> TokenKeys {
    let previous = settings.previous_secret.as_ref().map(|secret| TokenKey::new(secret.expose()));
    TokenKeys::new(TokenKey::new(secret.expose()), previous)
}

/// Logs a warning if keys and tokens travel in clear text.
pub fn warn_of_clear_text(settings: &Settings, bind: IpAddr) {
    if !bind.is_loopback() && !settings.has_tls() {
        tracing::warn!(
            %bind,
            "no TLS: API keys and tokens travel in clear text; let a proxy end TLS, and set WS_HOST=wss://… to what it is reached by"
        );
    }
}

/// Why a secret cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's content was not written by Bond.
    #[error("not a secret: remove {path}", path = .0.display())]
    Broken(PathBuf),
}

/// The secret in the data directory. If there is none yet, it is made of `random`. Several processes that start at once all get the same.
///
/// # Errors
/// [`KeepError`].
pub fn keep(data_dir: &Path, random: [u8; SECRET_BYTES]) -> Result<Secret, KeepError> {
    keep_in(&data_dir.join(FILE), random)
}

fn keep_in(path: &Path, random: [u8; SECRET_BYTES]) -> Result<Secret, KeepError> {
    let failed = |source| KeepError::Io { path: path.to_owned(), source };
    if !path.try_exists().map_err(failed)? {
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        publish(path, &hex(&random)).map_err(failed)?;
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    check_secret(text.trim()).map_err(|_| KeepError::Broken(path.to_owned()))?;
    Ok(Secret::new(text.trim().to_owned()))
}

/// A secret as text.
pub fn hex(random: &[u8; SECRET_BYTES]) -> String {
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file atomically and readable only by its owner. Does nothing if another process was quicker.
fn publish(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    // Remove a draft that an earlier process with this id may have left behind.
    let _ = fs::remove_file(&draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bond_api::jwt::{Minting, mint};
    use bond_core::time::UnixNanos;
    use tempfile::TempDir;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn settings(has_secret: bool, has_host: bool) -> Settings {
        Settings::read(&|name| match name {
            "BOND_SECRET" if has_secret => Some(SECRET.to_owned()),
            "WS_HOST" if has_host => Some("wss://feed.example".to_owned()),
            _ => None,
        })
        .expect("settings")
    }

    /// All combinations: what comes of each, as the names of what is missing.
    #[test]
    fn nothing_is_signed_with_a_secret_that_others_know() {
        let set = || Ok(Origin::Set(Secret::new(SECRET.to_owned())));
        for bind in ["127.0.0.1", "::1", "0.0.0.0", "::", "192.0.2.1"] {
            let bind: IpAddr = bind.parse().expect("an address");
            for bits in 0..16_u8 {
                let [has_secret, has_keys, has_redis, has_host] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
                let decided =
                    decide(&settings(has_secret, has_host), SecretPlace { bind, has_keys, has_redis });
                let expected = match (bind.is_loopback(), has_secret, has_keys, has_redis, has_host) {
                    (true, true, ..) | (false, true, true, _, true) => set(),
                    (true, false, false, false, _) => Ok(Origin::Directory),
                    (true, false, false, true, _) => Ok(Origin::Redis),
                    (true, false, true, ..) => Err(vec!["BOND_SECRET"]),
                    (false, ..) => {
                        let all =
                            [(has_secret, "BOND_SECRET"), (has_keys, "bond key new"), (has_host, "WS_HOST")];
                        Err(all.into_iter().filter(|(has, _)| !has).map(|(_, name)| name).collect())
                    }
                };
                match (&decided, &expected) {
                    (Ok(decided), Ok(expected)) => assert_eq!(decided, expected, "{bind} {bits:04b}"),
                    (Err(problems), Err(named)) => {
                        assert_eq!(problems.0.len(), named.len(), "{problems:?}");
                        assert!(
                            problems.0.iter().zip(named).all(|(problem, name)| problem.contains(name)),
                            "{problems:?}"
                        );
                    }
                    other => panic!("{bind} {bits:04b}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_kept_secret_is_drawn_once_and_is_its_owners() {
        let dir = TempDir::new().expect("directory");
        let data_dir = dir.path().join("data");
        let random = |seed: u8| {
            std::array::from_fn(|n| {
                seed.wrapping_mul(31).wrapping_add(u8::try_from(n * 7).unwrap_or_default())
            })
        };
        let first = keep(&data_dir, random(1)).expect("kept");
        assert_eq!(first.expose(), hex(&random(1)));
        assert_eq!(keep(&data_dir, random(2)).expect("kept"), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(data_dir.join(FILE)).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&data_dir).expect("directory").count(), 1, "no draft is left");
        for broken in ["", "short", "bond-development-secret-for-loopback-only"] {
            fs::write(data_dir.join(FILE), broken).expect("written");
            assert!(matches!(keep(&data_dir, random(3)), Err(KeepError::Broken(_))), "{broken}");
        }
    }

    #[test]
    fn static_tokens_are_refused_wherever_others_could_come_in() {
        let with_tokens = |bind: &str, host: &str| {
            let settings = Settings::read(&|name| match name {
                "BOND_STATIC_TOKENS" => Some("valid_token:user_123".to_owned()),
                "BOND_SECRET" => Some(SECRET.to_owned()),
                "WS_HOST" => Some(host.to_owned()),
                _ => None,
            });
            let bind = bind.parse().expect("an address");
            decide(&settings.expect("settings"), SecretPlace { bind, has_keys: true, has_redis: false })
        };
        for (bind, host) in [("127.0.0.1", ""), ("::1", ""), ("127.0.0.1", "localhost:8080")] {
            assert!(with_tokens(bind, host).is_ok(), "{bind} {host}");
        }
        for (bind, host) in [
            ("0.0.0.0", "localhost"),
            ("::", "wss://feed.example"),
            ("192.0.2.1", "wss://feed.example"),
            ("127.0.0.1", "wss://feed.example"),
        ] {
            let SettingsError(problems) = with_tokens(bind, host).expect_err(bind);
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!(problem.contains("BOND_STATIC_TOKENS is for this machine alone"), "{problem}");
            assert!(!problem.contains("valid_token"), "{problem}");
        }
    }

    #[test]
    fn without_a_key_of_an_issuer_a_kept_secret_serves_on_loopback_alone() {
        let dir = TempDir::new().expect("directory");
        let random = std::array::from_fn(|n| u8::try_from(n * 7).unwrap_or(n as u8));
        let now = UnixNanos::from_secs(1_800_000_000);
        let taken = |bind: &str, name: &str, value: &str| {
            let settings =
                Settings::read(&|asked| (asked == name).then(|| value.to_owned())).expect("settings");
            let bind = bind.parse().expect("an address");
            let verifier = token_verifier(&settings.jwt, bind, dir.path(), random).expect("a verifier");
            let minting = Minting {
                user: "u1".into(),
                expires_at: now.plus(Duration::from_secs(60)),
                ..Minting::default()
            };
            let secret = keep_for_jwt(dir.path(), random).expect("kept");
            verifier.verify(&mint(&minting, secret.expose()).expect("minted"), now).is_ok()
        };
        assert!(taken("127.0.0.1", "", ""));
        assert!(!taken("192.0.2.1", "", ""), "off loopback");
        assert!(!taken("127.0.0.1", "BOND_JWT_SECRET", SECRET), "where one is set");
        assert!(!taken("127.0.0.1", "BOND_JWKS_URL", "https://id.example/jwks"), "where there is an issuer");
    }

    #[test]
    fn of_many_who_begin_at_once_all_have_the_same_secret() {
        let dir = TempDir::new().expect("directory");
        let publish_one = |seed: u8| {
            let path = dir.path().join(FILE);
            publish(&path, &format!("{seed:02x}").repeat(20)).expect("published");
            fs::read_to_string(path).expect("read")
        };
        assert_eq!(publish_one(1), publish_one(2));
    }
}
