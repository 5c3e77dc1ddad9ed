//! Makes the description of this interface from the handlers and what they take and answer, and holds the document that is served against it.

use std::{env, fs};

use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToResponse};

use super::openapi::DOCUMENT;
use super::topics::{self, EventsTooLarge, HeadMoved, TopicForbidden, UnknownTopic, WriterAway};
use super::{compile, create, feeds, health, metrics, streams, users};
use crate::problem::{FieldProblem, ProblemDetails, ProblemHead};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bond",
        description = "Turns a sentence into a live, numbered, aggregated market-data feed over a WebSocket.\n\n\
            Every error is a problem document (RFC 9457) with a stable `code`. An owner who asks faster than the \
            server's pace is answered 429 with `Retry-After`.\n\n\
            One spec is one stream, whoever asks for it: `created: false` tells that somebody else's runs already, \
            and a stream's metrics count what all its clients get. Whose it is, and what they call it, is told to nobody.",
    ),
    paths(
        create::create,
        streams::list,
        streams::get,
        streams::delete,
        streams::token,
        feeds::token,
        topics::publish,
        topics::publish_to_many,
        topics::snapshot,
        topics::events,
        topics::list,
        topics::end,
        users::disconnect,
        metrics::stream,
        compile::compile,
        health::root,
        health::health,
        health::ready,
        metrics::all,
    ),
    components(
        schemas(ProblemDetails, FieldProblem, ProblemHead),
        responses(
            NotUnderstood, KeyRefused, UnknownStream, BodyTooLarge, NotJson, QuotaReached, NotReady, TopicForbidden, UnknownTopic, HeadMoved,
            EventsTooLarge, WriterAway,
        ),
    ),
    security((), ("api_key" = [])),
    modifiers(&ApiKeyScheme),
    tags(
        (name = "streams", description = "Create streams, and get what opens them"),
        (name = "topics", description = "Publish to topics of your own, and read them"),
        (name = "health", description = "How the server fares"),
    ),
)]
struct Api;

/// The request is not understood: `errors` or `suggestions` say more.
#[derive(ToResponse)]
#[response(
    description = "The request is not understood: `errors` or `suggestions` say more",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct NotUnderstood(ProblemDetails);

/// An API key is needed, or the one given is not good.
#[derive(ToResponse)]
#[response(
    description = "An API key is needed, or the one given is not good",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct KeyRefused(ProblemDetails);

/// You have no such stream.
#[derive(ToResponse)]
#[response(description = "You have no such stream", content_type = "application/problem+json")]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct UnknownStream(ProblemDetails);

/// The body is over 64 KB.
#[derive(ToResponse)]
#[response(description = "The body is over 64 KB", content_type = "application/problem+json")]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct BodyTooLarge(ProblemDetails);

/// The body is of another content type than JSON.
#[derive(ToResponse)]
#[response(
    description = "The body is of another content type than JSON",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct NotJson(ProblemDetails);

/// Your quota of streams is used up, or you ask too often: `code` says which.
#[derive(ToResponse)]
#[response(
    description = "Your quota of streams is used up, or you ask too often: `code` says which",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct QuotaReached(ProblemDetails);

/// Something is missing; `detail` says what.
#[derive(ToResponse)]
#[response(
    description = "Something is missing; `detail` says what",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct NotReady(ProblemDetails);

/// How an API key is sent. Not needed on loopback where no keys are configured.
struct ApiKeyScheme;

impl Modify for ApiKeyScheme {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("bond_…").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// The document that is served is what the handlers say. `BLESS=1` writes it anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says so")]
fn the_document_is_what_the_handlers_say() {
    let mut made = serde_json::to_string_pretty(&Api::openapi()).expect("JSON");
    made.push('\n');
    if env::var_os("BLESS").is_some() {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/rest/openapi.json"), &made).expect("written");
    }
    assert!(made == DOCUMENT, "openapi.json is not what the handlers say: BLESS=1 writes it anew");
}
