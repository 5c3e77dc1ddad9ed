//! Follows an issuer's JWK set: read again now and then, and when a token names a key that is not in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bond_api::jwt::{JwkSet, JwkSetError, TokenVerifier};
use bond_ingest::rest::{RestClient, RestError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::JwksSource;

/// How often the set is read again.
const EVERY: Duration = Duration::from_secs(600);

/// How long it is left alone after each reading, whatever keys tokens name; and the first wait after a failure.
const PAUSE: Duration = Duration::from_secs(10);

/// How long one reading may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest text that is read.
const MAX_BYTES: usize = 256 * 1024;

/// Why the set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The file cannot be read.
    #[error("cannot read the JWK set: {0}")]
    File(#[from] io::Error),
    /// The issuer's server gives none.
    #[error("cannot fetch the JWK set: {0}")]
    Fetch(#[from] RestError),
    /// No text, or a longer one than is taken.
    #[error("a JWK set is UTF-8 text of at most {MAX_BYTES} bytes")]
    Text,
    /// What was read is none.
    #[error(transparent)]
    Set(#[from] JwkSetError),
}

/// The set of one issuer, and what checks tokens by it.
#[derive(Debug)]
pub struct Jwks {
    source: Option<JwksSource>,
    client: RestClient,
    verifier: Arc<TokenVerifier>,
    /// How often in a row the set could not be read.
    failures: u32,
}

impl Jwks {
    /// Reads the set for the first time, so that clients who come back at once after a restart find it. Where it cannot be read, it will be later.
    ///
    /// # Errors
    /// Where the system's root certificates cannot be read.
    pub async fn open(source: Option<JwksSource>, verifier: Arc<TokenVerifier>) -> Result<Self, JwksError> {
        let client = RestClient::new()?.at_most(MAX_BYTES);
        let mut jwks = Self { source, client, verifier, failures: 0 };
        jwks.refresh().await;
        Ok(jwks)
    }

    /// Keeps the set fresh until `stop`.
    pub async fn follow(mut self, stop: CancellationToken) {
        let following = async {
            loop {
                self.wait().await;
                self.refresh().await;
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// A token whose key is unknown, again and again, has the set read once each [`PAUSE`].
    async fn wait(&self) {
        sleep(PAUSE).await;
        tokio::select! {
            () = sleep(self.rest()) => {}
            () = self.verifier.unknown_key() => {}
        }
    }

    /// How long after the pause the set is read without being asked for: soon after a failure, ever later where they go on.
    fn rest(&self) -> Duration {
        match self.failures {
            0 => EVERY - PAUSE,
            failures => (PAUSE * 2_u32.saturating_pow(failures.min(7) - 1)).min(EVERY) - PAUSE,
        }
    }

    /// Takes the set as it is now; where it cannot be read, the one before stays.
    async fn refresh(&mut self) {
        match self.read().await {
            Ok(set) => {
                self.failures = 0;
                set.into_iter().for_each(|set| self.verifier.replace(set));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                tracing::error!("{error}; the keys read before stay good");
            }
        }
    }

    async fn read(&self) -> Result<Option<JwkSet>, JwksError> {
        let text = match &self.source {
            None => return Ok(None),
            Some(JwksSource::Text(set)) => return Ok(Some(set.clone())),
            Some(JwksSource::File(path)) => read_file(path)?,
            Some(JwksSource::Url(url)) => self.client.get(url.clone(), TIMEOUT).await?.to_vec(),
        };
        let text = String::from_utf8(text).ok().filter(|text| text.len() <= MAX_BYTES);
        Ok(Some(JwkSet::from_json(&text.ok_or(JwksError::Text)?)?))
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
