//! REST requests and answers, apart from HTTP.

use std::time::Duration;

use serde_json::Value;
use url::form_urlencoded;

/// A request: path and decoded query.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    query: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn new(path: &str, query: &str) -> Self {
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { path: path.to_owned(), query }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A whole number, or the default where it is absent.
    pub(crate) fn number(&self, name: &str, default: usize) -> Option<usize> {
        self.get(name).map_or(Some(default), |text| text.parse().ok())
    }
}

/// An answer: status, JSON and whether to wait before sending it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) wait: Duration,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), retry_after: None, wait: Duration::ZERO }
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::new(status, body.to_string())
    }
}
