//! A client of Bond's REST interface, for the commands that talk to a running server.

use serde_json::Value;

use super::{Exit, Failure};
use crate::cli::ServerArgs;

/// Where the server is, and as whom to speak.
pub struct Client {
    base: String,
    api_key: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server that `args` name.
    ///
    /// # Errors
    /// Where no HTTP client can be made on this machine.
    pub fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(5))
            .timeout(std::time::Duration::from_secs(15))
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
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// [`Exit::Unreachable`], or [`Exit::Refused`] with what the server said.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.http.post(format!("{}{path}", self.base));
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let request = match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() { Ok(value) } else { Err(refusal(status.as_u16(), &value)) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let message =
            format!("no answer from {}: {error}; is it running? start it with `bond up`", self.base);
        Failure::new(Exit::Unreachable, message)
    }
}

/// What the server's problem document says. A sentence or spec it did not understand is told apart.
fn refusal(status: u16, problem: &Value) -> Failure {
    let text = |field: &str| problem.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut message = format!("{} ({status} {})", text("detail"), text("code"));
    for suggestion in problem.get("suggestions").and_then(Value::as_array).into_iter().flatten() {
        message.push_str(&format!("\n  try: {}", suggestion.as_str().unwrap_or_default()));
    }
    let exit = if matches!(status, 400 | 422) { Exit::NotUnderstood } else { Exit::Refused };
    Failure::new(exit, message)
}
