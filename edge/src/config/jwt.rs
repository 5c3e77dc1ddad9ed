//! Which tokens of other issuers are taken, for topics.

use std::path::PathBuf;

use bond_api::jwt::{ClaimRules, JwkSet, StaticTokens, TokenVerifier};
use bond_core::secret::Secret;
use bond_core::settings::Reader;
use url::{Host, Url};

/// What the text of a public key contains. Whoever has it could sign with it, were it taken for a secret.
const OF_PUBLIC_KEYS: [&str; 2] = ["-----BEGIN", "\"kty\""];

/// Where an issuer's public keys are found.
#[derive(Clone, Debug)]
pub enum JwksSource {
    /// `BOND_JWKS_URL`.
    Url(Url),
    /// `BOND_JWKS`, a path.
    File(PathBuf),
    /// `BOND_JWKS`, the text itself.
    Text(JwkSet),
}

/// The tokens that are taken for topics. Each field names the variable it is read from.
#[derive(Clone, Debug, Default)]
pub struct JwtSettings {
    /// `BOND_JWT_SECRET`: signs HS256 tokens. Without any key of an issuer, on loopback alone, one is drawn at random and kept.
    pub secret: Option<Secret>,
    /// `BOND_JWT_SECRET_PREVIOUS`: signed tokens that are still to be taken, during a rotation.
    pub previous_secret: Option<Secret>,
    /// `BOND_JWKS_URL` or `BOND_JWKS`: the public keys of RS256, ES256 and EdDSA tokens.
    pub jwks: Option<JwksSource>,
    /// `BOND_STATIC_TOKENS`: `token:user[:role]`, comma-separated, on loopback alone.
    pub static_tokens: StaticTokens,
    /// `BOND_JWT_ISSUER`, `BOND_JWT_AUDIENCE` and `BOND_ADMIN_READS_ALL`.
    pub rules: ClaimRules,
}

impl JwtSettings {
    /// Takes settings from a reader, which notes what is wrong.
    pub(super) fn take(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            secret: shared_secret(reader, "BOND_JWT_SECRET"),
            previous_secret: shared_secret(reader, "BOND_JWT_SECRET_PREVIOUS"),
            jwks: jwks(reader),
            static_tokens: static_tokens(reader),
            rules: ClaimRules {
                issuer: reader.text("BOND_JWT_ISSUER"),
                audience: reader.text("BOND_JWT_AUDIENCE"),
                admin_reads_all: reader.flag("BOND_ADMIN_READS_ALL"),
            },
        };
        if settings.secret.is_none() && settings.previous_secret.is_some() {
            reader
                .problem("BOND_JWT_SECRET_PREVIOUS is set without BOND_JWT_SECRET: set that too".to_owned());
        }
        settings
    }

    /// Whether no key of an issuer is set.
    pub const fn has_no_key(&self) -> bool {
        self.secret.is_none() && self.jwks.is_none()
    }

    /// What checks tokens by these. `kept` is the secret that nobody set, where it serves.
    pub fn verifier(&self, kept: Option<&Secret>) -> TokenVerifier {
        let secrets = [self.secret.as_ref(), self.previous_secret.as_ref(), kept];
        let secrets: Vec<&str> = secrets.into_iter().flatten().map(Secret::expose).collect();
        TokenVerifier::new(&secrets, self.rules.clone()).with_static_tokens(self.static_tokens.clone())
    }
}

fn shared_secret(reader: &mut Reader<'_>, name: &str) -> Option<Secret> {
    let secret = super::secret(reader, name)?;
    if OF_PUBLIC_KEYS.iter().any(|mark| secret.expose().contains(mark)) {
        reader.problem(format!(
            "{name} is the text of a key pair or public key: put public keys into BOND_JWKS"
        ));
    }
    Some(secret)
}

fn static_tokens(reader: &mut Reader<'_>) -> StaticTokens {
    let text = reader.text("BOND_STATIC_TOKENS").unwrap_or_default();
    StaticTokens::parse(&text).unwrap_or_else(|error| {
        reader.problem(format!("BOND_STATIC_TOKENS {error}"));
        StaticTokens::default()
    })
}

fn jwks(reader: &mut Reader<'_>) -> Option<JwksSource> {
    let (url, text) = (reader.text("BOND_JWKS_URL"), reader.text("BOND_JWKS"));
    if url.is_some() && text.is_some() {
        reader.problem("BOND_JWKS_URL and BOND_JWKS are both set: leave one out".to_owned());
    }
    match (url, text) {
        (Some(url), _) => jwks_url(reader, &url).map(JwksSource::Url),
        (None, Some(text)) if text.starts_with('{') => {
            let set =
                JwkSet::from_json(&text).map_err(|error| reader.problem(format!("BOND_JWKS is {error}")));
            set.ok().map(JwksSource::Text)
        }
        (None, path) => path.map(|path| JwksSource::File(path.into())),
    }
}

/// Whoever could answer in the issuer's place would sign whatever he likes: hence TLS, off this machine.
fn jwks_url(reader: &mut Reader<'_>, text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    });
    if url.is_none() {
        // Without the rest: there may be a password in it.
        reader.problem("BOND_JWKS_URL must be an https URL, or an http one on loopback".to_owned());
    }
    url
}

/// Whether a URL is of this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use bond_core::settings::SettingsError;

    use super::*;
    use crate::config::Settings;

    /// Names and texts.
    type Variables<'a> = &'a [(&'a str, &'a str)];

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const SET: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;

    fn read(variables: &[(&str, &str)]) -> Result<JwtSettings, SettingsError> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&get).map(|settings| settings.jwt)
    }

    #[test]
    fn where_the_keys_are_is_read() {
        assert!(read(&[]).expect("settings").has_no_key());
        assert!(!read(&[("BOND_JWT_SECRET", SECRET)]).expect("settings").has_no_key());
        for url in
            ["https://id.example/jwks", "http://127.0.0.1:9000/jwks", "http://localhost/", "http://[::1]:1/"]
        {
            let jwks = read(&[("BOND_JWKS_URL", url)]).expect(url).jwks;
            assert!(matches!(jwks, Some(JwksSource::Url(read)) if read.as_str() == url), "{url}");
        }
        let jwks = |text| read(&[("BOND_JWKS", text)]).expect(text).jwks;
        assert!(matches!(jwks(SET), Some(JwksSource::Text(set)) if set.len() == 1));
        assert!(matches!(jwks("/etc/bond/jwks.json"), Some(JwksSource::File(_))));
    }

    #[test]
    fn what_cannot_be_used_stops_the_start_with_all_problems_and_no_secret() {
        let both = [("BOND_JWKS_URL", "https://id.example/jwks"), ("BOND_JWKS", SET)];
        let cases: [(Variables<'_>, &[&str]); 7] = [
            (&both, &["both set"]),
            (&[("BOND_JWKS_URL", "http://user:password@id.example/jwks")], &["must be an https URL"]),
            (&[("BOND_JWKS_URL", "file:///etc/jwks")], &["must be an https URL"]),
            (&[("BOND_JWKS", r#"{"keys":[]}"#)], &["BOND_JWKS is a JWK set without a key"]),
            (&[("BOND_JWT_SECRET_PREVIOUS", SECRET)], &["set without BOND_JWT_SECRET"]),
            (
                &[
                    ("BOND_JWT_SECRET", "password"),
                    ("BOND_STATIC_TOKENS", "password"),
                    ("BOND_ADMIN_READS_ALL", "1"),
                ],
                &["BOND_JWT_SECRET is shorter", "BOND_STATIC_TOKENS must be", "BOND_ADMIN_READS_ALL must be"],
            ),
            (
                &[("BOND_JWT_SECRET", "-----BEGIN PUBLIC KEY-----\npassword0123456789")],
                &["put public keys into BOND_JWKS"],
            ),
        ];
        for (variables, expected) in cases {
            let SettingsError(problems) = read(variables).expect_err("problems");
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.contains(expected) && !problem.contains("password"), "{problem}");
            }
        }
        let settings =
            read(&[("BOND_JWT_SECRET", SECRET), ("BOND_STATIC_TOKENS", "valid_token:u")]).expect("settings");
        assert!(
            !format!("{settings:?}").contains(SECRET) && !format!("{settings:?}").contains("valid_token")
        );
    }
}
