//! The REST interface, wherever it is hosted.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// A client of the REST interface.
#[derive(Clone)]
pub struct Api {
    /// The base URL.
    pub rest: String,
    /// The API key that is sent, where one is needed.
    pub key: Option<String>,
    http: reqwest::Client,
}

impl Api {
    /// A client of the interface at this base URL, without a key.
    ///
    /// # Errors
    /// Where the system gives no sockets.
    pub fn open(rest: impl Into<String>) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { rest: rest.into(), key: None, http })
    }

    /// The same, as the holder of an API key.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// A request with these headers and a raw body.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<reqwest::Response> {
        let mut request = self.http.request(method.parse()?, format!("{}{path}", self.rest)).body(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.send().await?)
    }

    /// As [`Api::send`]; gives the status and the JSON of the answer.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<(u16, Value)> {
        let answer = self.send(method, path, headers, body).await?;
        Ok((answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null)))
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.request("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// `GET`.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.request("GET", path, &[], "").await
    }

    /// Creates a stream from a sentence.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn stream(&self, sentence: &str) -> Result<Value> {
        self.created(&json!({ "natural_language": sentence })).await
    }

    /// Creates a stream from a spec.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn stream_of(&self, spec: Value) -> Result<Value> {
        self.created(&json!({ "spec": spec })).await
    }

    /// A token for feeds.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn feed_token(&self) -> Result<String> {
        match self.post("/v1/feeds/token", &json!({})).await? {
            (200, answer) => Ok(answer["token"].as_str().unwrap_or_default().to_owned()),
            (status, answer) => bail!("refused with {status}: {answer}"),
        }
    }

    /// Creates a stream by this request.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn created(&self, body: &Value) -> Result<Value> {
        match self.post("/v1/streams", body).await? {
            (200, answer) => Ok(answer),
            (status, answer) => bail!("refused with {status}: {answer}"),
        }
    }
}

/// The `ws_url` in an answer, with more of a query, such as `&from=now-5s`.
pub fn ws_url(answer: &Value, more: &str) -> String {
    format!("{}{more}", answer["ws_url"].as_str().unwrap_or_default())
}
