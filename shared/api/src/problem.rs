//! Problem details (RFC 9457): how every refused request is answered.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bond_core::code::Code;
use bond_core::position::Position;
use serde::Serialize;
use smol_str::{SmolStr, format_smolstr};
use tracing::Instrument;
#[cfg(test)]
use utoipa::ToSchema;

use crate::refusals::{Known, Refusals, shortened};

/// The header that carries the request's id, both ways.
pub const REQUEST_ID: &str = "x-request-id";

/// The content type of a problem.
pub const PROBLEM_TYPE: &str = "application/problem+json";

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static(PROBLEM_TYPE);

/// Why a request was refused. Boxed, since it is the rare outcome of what mostly succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(Box<ProblemDetails>);

/// Why a request was refused, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(as = Problem, example = json!({
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "code": "INVALID_MESSAGE",
    "detail": "sources[0].symbols[0]: not a symbol: BTC/; write one as BTC/USDT",
    "retryable": false,
    "request_id": "7f9c2ba4e88f827d",
    "errors": [{"path": "sources[0].symbols[0]", "message": "not a symbol: BTC/; write one as BTC/USDT"}]
})))]
pub struct ProblemDetails {
    /// `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The HTTP status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Which problem it is. Stable: match on this.
    #[cfg_attr(test, schema(value_type = String))]
    code: Code,
    /// What is wrong and what to fix.
    detail: String,
    /// Why a sentence was not understood, in one word. Stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<String>, example = "unknown_asset"))]
    reason: Option<&'static str>,
    /// Whether the same request may succeed later, unchanged.
    retryable: bool,
    /// Where a topic stands that was to stand elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<ProblemHead>,
    /// Names the request in the server's logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<String>))]
    request_id: Option<SmolStr>,
    /// After how many seconds it may be tried again: the header `Retry-After`.
    #[serde(skip)]
    retry_after: Option<u32>,
    /// Everything that is wrong with a spec, each with its path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    /// Sentences that would be understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suggestions: Vec<String>,
}

/// Where a topic stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct ProblemHead {
    /// Its history; null where it has none.
    epoch: Option<String>,
    /// The number of its newest event; 0 where it has none.
    seq: u64,
}

impl ProblemHead {
    /// Of a topic whose head this is.
    pub fn of(head: Option<&Position>) -> Self {
        Self { epoch: head.map(|head| head.epoch.to_string()), seq: head.map_or(0, |head| head.seq) }
    }
}

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct FieldProblem {
    /// Where, such as `sources[0].symbols[2]`; empty for the whole.
    pub path: String,
    /// What is wrong and what to fix.
    pub message: String,
}

impl Problem {
    /// A problem of this code, with the status that goes with it.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::with_status(status, code, detail)
    }

    /// A problem of this code, with a status that says more than the code's own.
    pub fn with_status(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemDetails {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            reason: None,
            head: None,
            retryable: code.is_retryable(),
            request_id: None,
            retry_after: None,
            errors: Vec::new(),
            suggestions: Vec::new(),
        }))
    }

    /// The same problem, with everything that is wrong, each with its path.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.0.errors = errors;
        self
    }

    /// The same problem, with where a topic stands.
    #[must_use]
    pub fn with_head(mut self, head: ProblemHead) -> Self {
        self.0.head = Some(head);
        self
    }

    /// The same problem, with the reason why a sentence was not understood.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// The same problem, saying after how many seconds the request may be tried again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The same problem, with sentences that would be understood.
    #[must_use]
    pub fn with_suggestions(mut self, suggestions: Vec<String>) -> Self {
        self.0.suggestions = suggestions;
        self
    }

    /// Which problem it is.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What is wrong and what to fix.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Sentences that would be understood.
    pub fn suggestions(&self) -> &[String] {
        &self.0.suggestions
    }

    /// The HTTP status that goes with it.
    pub fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The same problem, naming the request in the server's logs.
    #[must_use]
    pub fn with_request_id(mut self, id: &str) -> Self {
        self.0.request_id = Some(SmolStr::new(id));
        self
    }

    /// It as JSON, as clients see it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    fn body(&self) -> Body {
        Body::from(self.to_json())
    }
}

impl IntoResponse for Problem {
    /// The answer. It keeps the problem itself too, so that [`answer`] can put the request's id into it.
    fn into_response(self) -> Response {
        let mut response = (self.http_status(), self.body()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if self.http_status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"bond\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives each request an id, logs it, and answers every refusal with a problem that carries the id.
pub async fn answer(State(refusals): State<Refusals>, mut request: Request, next: Next) -> Response {
    let (id, known) = (request_id(&request), Known::default());
    request.extensions_mut().insert(known.clone());
    let (method, path) = (request.method(), shortened(request.uri().path()));
    let is_private = path.starts_with("/v1/");
    let span = tracing::info_span!("request", request_id = %id, %method, path);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = name_problem(response, &id);
    }
    span.in_scope(|| refusals.log(&response, &known));
    protect(response.headers_mut(), is_private);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What browsers are told to do with an answer: to take it for nothing but what it says it is, to show it to no page of another site, and
/// to keep none that may hold a token.
fn protect(headers: &mut HeaderMap, is_private: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if is_private {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The caller's id for the request where it is a plain one, else a new one.
fn request_id(request: &Request) -> SmolStr {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=');
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(plain));
    given.map_or_else(new_id, SmolStr::new)
}

fn new_id() -> SmolStr {
    let random = getrandom::u64().unwrap_or_default();
    format_smolstr!("{random:016x}")
}

/// Rewrites a refusal as a problem with the request's id. What did not come as a problem (an upgrade refused
/// by the framework) becomes one.
fn name_problem(mut response: Response, id: &SmolStr) -> Response {
    let problem = response.extensions_mut().remove::<Problem>();
    let mut problem = problem.unwrap_or_else(|| unnamed(response.status()));
    problem.0.request_id = Some(id.clone());
    *response.body_mut() = problem.body();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    response.extensions_mut().insert(problem);
    response
}

fn unnamed(status: StatusCode) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        status if status.is_server_error() => Code::InternalError,
        _ => Code::InvalidMessage,
    };
    Problem::with_status(status, code, status.canonical_reason().unwrap_or("refused").to_lowercase())
}
