//! The description of this interface, as OpenAPI 3.1.

use axum::http::header;
use axum::response::IntoResponse;

/// The document. A test in `described` makes it, and holds it against the handlers: what makes it takes long to build, and so is in no binary.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
