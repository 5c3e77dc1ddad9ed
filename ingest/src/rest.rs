//! A small HTTPS client for venues' REST answers, and those of other servers that we ask: bounded in time and in size, and no redirects.

use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, redirect};
use url::Url;

/// How Bond identifies itself to venues.
const USER_AGENT: &str = concat!("bond/", env!("CARGO_PKG_VERSION"));

/// The most bytes of an answer. The longest is Binance's list of spot instruments, with some 15 MB.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// How long establishing a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// An answer other than 2xx.
    #[error("http status {status}")]
    Status {
        /// The status.
        status: u16,
        /// How long the venue asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The body is longer than this many bytes.
    #[error("answer longer than {0} bytes")]
    TooLarge(usize),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection failed.
    #[error("{0}")]
    Transport(String),
}

impl RestError {
    /// How long the venue asks us to wait, if it does.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::TooLarge(_) | Self::Timeout(_) | Self::Transport(_) => None,
        }
    }
}

/// A client that keeps connections open between requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RestClient {
    client: Client,
    most_bytes: usize,
}

impl RestClient {
    /// A client with our user agent.
    ///
    /// # Errors
    /// [`RestError::Transport`] where the system's root certificates cannot be read.
    pub fn new() -> Result<Self, RestError> {
        install_crypto();
        Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .build()
            .map(|client| Self { client, most_bytes: MAX_BODY_BYTES })
            .map_err(transport)
    }

    /// The same client, which refuses answers longer than `most_bytes`.
    #[must_use]
    pub fn at_most(self, most_bytes: usize) -> Self {
        Self { most_bytes, ..self }
    }

    /// The whole body of the answer to `GET url`, read within `timeout`.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn get(&self, url: Url, timeout: Duration) -> Result<Bytes, RestError> {
        tokio::time::timeout(timeout, self.fetch(url)).await.unwrap_or(Err(RestError::Timeout(timeout)))
    }

    async fn fetch(&self, url: Url) -> Result<Bytes, RestError> {
        let response = self.client.get(url).send().await.map_err(transport)?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = retry_after(response.headers());
            return Err(RestError::Status { status: status.as_u16(), retry_after });
        }
        read_bounded(response, self.most_bytes).await
    }
}

async fn read_bounded(mut response: Response, most_bytes: usize) -> Result<Bytes, RestError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > most_bytes {
            return Err(RestError::TooLarge(most_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The header `Retry-After` in seconds. The venues that are served do not use its other form, a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The error with all its causes, without the URL. The text of reqwest alone ends with "error sending request".
fn transport(error: reqwest::Error) -> RestError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    RestError::Transport(text)
}

/// Makes `ring` the TLS provider of the process. Does nothing if one is installed already.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
