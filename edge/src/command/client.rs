//! A client of Bond's REST interface, for the commands that talk to a running server.

use std::time::Duration;

use bond_core::code;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::printable::escaped;
use crate::cli::ServerArgs;
use crate::failure::{Exit, Failure};

/// The server's URL and the API key to use.
pub struct RestClient {
    base: String,
    api_key: Option<String>,
    http: reqwest::Client,
}

impl RestClient {
    /// A client of the server that `args` name.
    ///
    /// # Errors
    /// Fails if no HTTP client can be made on this machine.
    pub fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(15))
            .no_proxy()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Self { base: args.url.trim_end_matches('/').to_owned(), api_key: args.api_key.clone(), http })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`Exit::Unreachable`], or [`Exit::Refused`] with what the server said.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.send(self.http.get(format!("{}{path}", self.base))).await?)
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// [`Exit::Unreachable`], or [`Exit::Refused`] with what the server said.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.ask(path, body).await?)
    }

    /// Like [`RestClient::post`], for callers that may repeat the request.
    ///
    /// # Errors
    /// Like [`RestClient::post`], with when to repeat the request.
    pub async fn ask(&self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let request = self.http.post(format!("{}{path}", self.base));
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// `POST path` with a JSON text as it is, under an idempotency key if there is one.
    ///
    /// # Errors
    /// [`Exit::Unreachable`], or [`Exit::Refused`] with what the server said.
    pub async fn post_text(&self, path: &str, body: String, key: Option<&str>) -> Result<Value, Failure> {
        let request =
            self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        Ok(self.send(request.body(body)).await?)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Refusal> {
        let request = match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        match serde_json::from_slice(&body) {
            Ok(value) if status.is_success() => Ok(value),
            Err(_) if status.is_success() => Err(garbled(asked)),
            read => Err(refusal(status.as_u16(), &read.unwrap_or(Value::Null), asked)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Refusal {
        let message =
            format!("no answer from {}: {error}; is it running? start it with `bond up`", self.base);
        Refusal { failure: Failure::new(Exit::Unreachable, message), again: Some(Duration::ZERO) }
    }
}

/// Why a request failed.
pub struct Refusal {
    /// The failure, for a command that ends with it.
    pub failure: Failure,
    /// If the same request may succeed later: the least wait that the server asks for.
    pub again: Option<Duration>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

/// The wait that a server asks for in seconds. A date instead of seconds counts as no wait.
pub fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

fn garbled(asked: Duration) -> Refusal {
    let message = "the answer is not JSON; is there a proxy between?";
    Refusal { failure: Failure::new(Exit::Refused, message), again: Some(asked) }
}

/// The failure that the server's problem document describes. A sentence or spec that the server did not understand has its own exit code.
fn refusal(status: u16, problem: &Value, asked: Duration) -> Refusal {
    let text = |field: &str| escaped(problem.get(field).and_then(Value::as_str).unwrap_or_default());
    let mut message = format!("{} ({status} {})", text("detail"), text("code"));
    for suggestion in problem.get("suggestions").and_then(Value::as_array).into_iter().flatten() {
        message.push_str(&format!("\n  try: {}", escaped(suggestion.as_str().unwrap_or_default())));
    }
    let exit = if matches!(status, 400 | 422) { Exit::NotUnderstood } else { Exit::Refused };
    let again = code::status_comes_back(status).then_some(asked);
    Refusal { failure: Failure::new(exit, message), again }
}
