//! The description of the WebSocket messages, as AsyncAPI 3. Its examples are the golden messages of bond-core.

use axum::http::header;
use axum::response::IntoResponse;

/// The document. `tests/clients/test_documents.py` checks it against the standard, the golden messages and a running server.
const DOCUMENT: &str = include_str!("asyncapi.json");

pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
