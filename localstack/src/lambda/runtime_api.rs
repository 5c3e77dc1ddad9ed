//! The Runtime API of one process ("Using the Lambda runtime API for custom runtimes", version 2018-06-01, read 2026-11).
//!
//! Each process has its own port: `AWS_LAMBDA_RUNTIME_API` is documented as a host and port, without a path that could tell processes
//! apart.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::outcome::{InvokeError, RESPONSE_BYTES};
use crate::body;

/// What an invocation comes to.
pub(crate) type Answer = Result<Bytes, InvokeError>;

/// Work for a process.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) request_id: String,
    pub(crate) deadline_ms: u64,
    pub(crate) function_arn: String,
    pub(crate) trace_id: String,
    pub(crate) payload: Bytes,
    /// Where the answer goes.
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// One process's side of the API.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    /// Cancelled once the process asks for work: its init phase is over.
    pub(crate) initialized: CancellationToken,
    /// What init failed with.
    pub(crate) init_error: Mutex<Option<Bytes>>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Work>>,
    current: Mutex<Option<(String, oneshot::Sender<Answer>)>>,
}

impl RuntimeApi {
    /// One that hands out what comes by `inbox`.
    pub(crate) fn new(inbox: mpsc::Receiver<Work>) -> Self {
        Self {
            initialized: CancellationToken::new(),
            init_error: Mutex::default(),
            inbox: tokio::sync::Mutex::new(inbox),
            current: Mutex::default(),
        }
    }

    /// Its routes.
    pub(crate) fn router(self: Arc<Self>) -> Router {
        let base = "/2018-06-01/runtime";
        Router::new()
            .route(&format!("{base}/invocation/next"), get(next))
            .route(&format!("{base}/invocation/{{id}}/response"), post(response))
            .route(&format!("{base}/invocation/{{id}}/error"), post(error))
            .route(&format!("{base}/init/error"), post(init_error))
            .layer(DefaultBodyLimit::disable())
            .with_state(self)
    }

    /// Ends the invocation under way, if it is this one.
    fn finish(&self, request_id: &str, answer: Answer) -> bool {
        let Some((_, reply)) = self.current.lock().take_if(|(id, _)| id == request_id) else { return false };
        // The invoker may have given up, which is its own affair.
        let _ = reply.send(answer);
        true
    }
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    if api.current.lock().is_some() {
        return refusal("InvalidStateTransition");
    }
    api.initialized.cancel();
    let Some(work) = api.inbox.lock().await.recv().await else { return StatusCode::GONE.into_response() };
    *api.current.lock() = Some((work.request_id.clone(), work.reply));
    let headers = [
        ("lambda-runtime-aws-request-id", work.request_id),
        ("lambda-runtime-deadline-ms", work.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", work.function_arn),
        ("lambda-runtime-trace-id", work.trace_id),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, work.payload).into_response()
}

async fn response(State(api): State<Arc<RuntimeApi>>, Path(id): Path<String>, body: Body) -> Response {
    let (answer, status) = match body::read(body, RESPONSE_BYTES).await {
        Ok(payload) => (Ok(payload), StatusCode::ACCEPTED),
        Err(body::BodyError::TooLarge) => {
            (Err(InvokeError::response_too_large()), StatusCode::PAYLOAD_TOO_LARGE)
        }
        Err(body::BodyError::Broken) => return refusal("InvalidRequest"),
    };
    finished(api.finish(&id, answer), status)
}

async fn error(State(api): State<Arc<RuntimeApi>>, Path(id): Path<String>, payload: Bytes) -> Response {
    finished(api.finish(&id, Err(InvokeError::Function(payload))), StatusCode::ACCEPTED)
}

async fn init_error(State(api): State<Arc<RuntimeApi>>, payload: Bytes) -> Response {
    *api.init_error.lock() = Some(payload);
    finished(true, StatusCode::ACCEPTED)
}

fn finished(known: bool, status: StatusCode) -> Response {
    if known {
        (status, axum::Json(json!({"status": "OK"}))).into_response()
    } else {
        refusal("InvalidRequestID")
    }
}

fn refusal(error_type: &str) -> Response {
    let body = json!({"errorType": error_type, "errorMessage": error_type});
    (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
}
