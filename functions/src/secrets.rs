//! The keys that sign tokens and the keys that callers hold: secrets that may change while a function lives.

use std::sync::Arc;
use std::time::Duration;

use bond_api::auth::Access;
use bond_api::jwt::{ClaimRules, JwkSet, TokenVerifier};
use bond_api::keys::Keys;
use bond_api::tokens::Tokens;
use bond_core::api_key::KeyFile;
use bond_core::key_source::{IssuerKeys, KeySource, KeySourceError};
use bond_core::secret::Secret;
use bond_core::token::TokenKeys;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

/// How long a secret that was read is taken for the current one.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// What the secrets of the moment are good for.
#[derive(Debug)]
pub struct Keyring {
    /// Who may call.
    pub access: Arc<Access>,
    /// What signs and checks tokens.
    pub tokens: Arc<Tokens>,
}

/// Reads the secrets when they are first needed, and again by the first request after a minute: nothing runs between requests.
pub struct Vault {
    source: Box<dyn KeySource>,
    rules: ClaimRules,
    keyring: OnceCell<Keyring>,
    read_at: Mutex<Instant>,
}

impl Vault {
    /// Over this source, nothing read yet.
    pub fn new(source: Box<dyn KeySource>) -> Self {
        Self {
            source,
            rules: ClaimRules::default(),
            keyring: OnceCell::new(),
            read_at: Mutex::new(Instant::now()),
        }
    }

    /// The same, with what is asked of the claims of tokens for topics.
    #[must_use]
    pub fn with_rules(self, rules: ClaimRules) -> Self {
        Self { rules, ..self }
    }

    /// The keys of the moment.
    ///
    /// # Errors
    /// [`KeySourceError`] where they were never read; those that were stay good while they cannot be read again.
    pub async fn keyring(&self) -> Result<&Keyring, KeySourceError> {
        let keyring = self.keyring.get_or_try_init(|| self.open()).await?;
        self.freshen(keyring).await;
        Ok(keyring)
    }

    async fn open(&self) -> Result<Keyring, KeySourceError> {
        let (tokens, keys, issuer) = self.read().await?;
        // Never open mode: behind API Gateway there is no loopback.
        let access = Access::new(Keys::given(keys), false);
        let verifier = TokenVerifier::new(&[], self.rules.clone());
        trust(&verifier, &issuer)?;
        let tokens = Tokens::new(tokens).with_topics(Arc::new(verifier));
        Ok(Keyring { access: Arc::new(access), tokens: Arc::new(tokens) })
    }

    async fn read(&self) -> Result<(TokenKeys, KeyFile, IssuerKeys), KeySourceError> {
        *self.read_at.lock().await = Instant::now();
        tokio::try_join!(self.source.token_keys(), self.source.api_keys(), self.source.issuer_keys())
    }

    async fn freshen(&self, keyring: &Keyring) {
        if self.read_at.lock().await.elapsed() < GOOD_FOR {
            return;
        }
        match self.read().await {
            Ok((tokens, keys, issuer)) => {
                if let Err(error) = trust(keyring.tokens.topics(), &issuer) {
                    tracing::error!("{error}; the issuer's keys read before stay good");
                }
                keyring.tokens.replace(tokens);
                keyring.access.replace_keys(keys);
            }
            Err(error) => tracing::error!("{error}; the keys read before stay good"),
        }
    }
}

/// Has tokens for topics checked by these keys. Nothing changes where they cannot be read.
fn trust(verifier: &TokenVerifier, issuer: &IssuerKeys) -> Result<(), KeySourceError> {
    let set = issuer.jwks.as_deref().map(JwkSet::from_json).transpose();
    let set = set.map_err(|error| KeySourceError(format!("the issuer's keys: {error}")))?;
    let secrets: Vec<&str> = issuer.secrets.iter().map(Secret::expose).collect();
    verifier.replace_secrets(&secrets);
    verifier.replace(set.unwrap_or_default());
    Ok(())
}
