//! How invocations end, in Lambda's words.

use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

/// The most bytes of a synchronous invocation's request: 6 MB (Lambda quotas, read 2026-11).
pub(crate) const REQUEST_BYTES: usize = 6 * 1024 * 1024;
/// The most bytes of an asynchronous invocation's request: 1 MB (Lambda quotas, read 2026-11).
pub(crate) const EVENT_BYTES: usize = 1024 * 1024;
/// The most bytes of a response: 6 MB, of which Lambda's own message says 6,291,556.
pub(crate) const RESPONSE_BYTES: usize = 6_291_556;

/// Why an invocation gave no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvokeError {
    /// All concurrency is used up; it was not begun.
    #[error("rate exceeded")]
    Throttled,
    /// The request exceeds [`REQUEST_BYTES`]; it was not begun.
    #[error("request must be smaller than {REQUEST_BYTES} bytes: {0}")]
    TooLarge(usize),
    /// It was begun and failed; holds the JSON that the invoker gets (`errorType`, `errorMessage`).
    #[error("function failed: {}", String::from_utf8_lossy(.0))]
    Function(Bytes),
}

impl InvokeError {
    fn function(error_type: &str, message: &str) -> Self {
        Self::Function(json!({"errorType": error_type, "errorMessage": message}).to_string().into())
    }

    /// The process ended while it had work, or before it asked for any.
    pub(crate) fn exited(request_id: &str, status: Option<ExitStatus>) -> Self {
        let how = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        Self::function(
            "Runtime.ExitError",
            &format!("RequestId: {request_id} Error: Runtime exited with error: {how}"),
        )
    }

    /// The process took longer than the function's timeout, and was killed.
    pub(crate) fn timed_out(request_id: &str, timeout: Duration) -> Self {
        let seconds = timeout.as_secs_f64();
        Self::function(
            "Sandbox.Timedout",
            &format!("RequestId: {request_id} Error: Task timed out after {seconds:.2} seconds"),
        )
    }

    /// The process cannot be started.
    pub(crate) fn not_started(request_id: &str, why: &std::io::Error) -> Self {
        Self::function("Runtime.InvalidEntrypoint", &format!("RequestId: {request_id} Error: {why}"))
    }

    /// The response exceeds [`RESPONSE_BYTES`].
    pub(crate) fn response_too_large() -> Self {
        let message =
            format!("Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES} bytes).");
        Self::function("Function.ResponseSizeTooLarge", &message)
    }
}
