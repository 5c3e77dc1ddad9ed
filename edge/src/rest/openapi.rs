//! The description of this interface, as OpenAPI 3.1.

use axum::Json;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{compile, health, metrics, streams};
use crate::problem::{FieldProblem, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bond",
        description = "Turns a sentence into a live, numbered, aggregated market-data feed over a WebSocket.\n\n\
            Every error is a problem document (RFC 9457) with a stable `code`.",
    ),
    paths(
        streams::create,
        streams::list,
        streams::get,
        streams::delete,
        streams::token,
        metrics::stream,
        compile::compile,
        health::root,
        health::health,
        health::ready,
        metrics::all,
    ),
    components(schemas(Problem, FieldProblem)),
    security((), ("api_key" = [])),
    modifiers(&ApiKeyScheme),
    tags(
        (name = "streams", description = "Create streams, and get what opens them"),
        (name = "health", description = "How the server fares"),
    ),
)]
struct Api;

/// How an API key is sent. Not needed on loopback where no keys are configured.
struct ApiKeyScheme;

impl Modify for ApiKeyScheme {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("bond_…").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub fn document() -> Document {
    Api::openapi()
}

pub(super) async fn serve() -> Json<Document> {
    Json(document())
}
