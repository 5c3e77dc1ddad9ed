//! From a request to a spec: the boundary to the language and the spec's form.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bond_core::code::Code;
use bond_core::instrument::Venue;
use bond_core::spec::StreamSpec;
use bond_language::{Compilation, Defaults, Explanation, LanguageError, SpecError, guard_urls};
use serde::Serialize;
use serde_json::{Map, Value};
#[cfg(test)]
use utoipa::ToSchema;

use super::body::JsonObject;
#[cfg(test)]
use super::described::{BodyTooLarge, KeyRefused, NotJson, NotUnderstood};
use super::{RestSettings, RestState};
use crate::auth::Caller;
use crate::problem::{FieldProblem, Problem};

/// What a sentence or spec means: the answer of `POST /v1/compile`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub struct Compiled {
    /// The normalised spec; given back, it has the same id.
    #[cfg_attr(test, schema(value_type = Object))]
    pub spec: StreamSpec,
    /// The id that a stream of this spec has.
    #[cfg_attr(test, schema(example = "9f86d081884c7d65"))]
    pub stream_id: String,
    /// What each phrase of the sentence led to; empty for a spec.
    #[cfg_attr(test, schema(value_type = Vec<Object>))]
    pub explanation: Vec<Explanation>,
    /// What was ignored, rounded or read in one of two ways.
    pub warnings: Vec<String>,
}

impl From<Compilation> for Compiled {
    fn from(compilation: Compilation) -> Self {
        let Compilation { spec, explanation, warnings } = compilation;
        Self { stream_id: spec.id().to_string(), spec, explanation, warnings }
    }
}

/// A sentence to be compiled.
#[cfg(test)]
#[derive(ToSchema)]
#[schema(example = json!({"natural_language": "BTC price + tweets every 5s"}))]
#[allow(
    dead_code,
    reason = "describes a body that is read field by field, for problems that say what to fix"
)]
pub(super) struct CompileRequest {
    /// The sentence, 1000 characters at most.
    natural_language: Option<String>,
    /// Or a spec, to be checked and normalised.
    #[schema(value_type = Option<Object>)]
    spec: Option<Value>,
}

/// Say what a sentence or spec means. Nothing is created.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/compile", operation_id = "compile", tag = "streams", request_body = CompileRequest,
    responses(
        (status = 200, description = "What it means", body = Compiled),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 413, response = BodyTooLarge),
        (status = 415, response = NotJson),
    ),
))]
pub(super) async fn compile(
    State(state): State<Arc<RestState>>,
    _: Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<Compiled>, Problem> {
    understand(&body, &state.settings).map(Json)
}

/// What a body's `natural_language` or `spec` means.
pub(super) fn understand(body: &Map<String, Value>, settings: &RestSettings) -> Result<Compiled, Problem> {
    let example = "such as \"BTC price + tweets every 5s\"";
    let compiled = match (body.get("natural_language"), body.get("spec")) {
        (Some(Value::String(sentence)), None) => compile_sentence(sentence, &settings.venues)?,
        (None, Some(spec)) => read_spec(spec)?,
        (Some(_), Some(_)) => return Err(invalid("give natural_language or spec, not both")),
        (Some(_), None) => return Err(invalid(format!("natural_language must be a string, {example}"))),
        (None, None) => return Err(invalid(format!("give natural_language, {example}, or spec"))),
    };
    guard_urls(&compiled.spec, settings.allow_private_sources).map_err(spec_problem)?;
    Ok(compiled)
}

/// What a sentence means where `venues` are configured. Its URLs are not guarded.
///
/// # Errors
/// [`Problem`] that says what was not understood.
pub fn compile_sentence(sentence: &str, venues: &BTreeSet<Venue>) -> Result<Compiled, Problem> {
    let defaults = Defaults { venues: venues.clone() };
    bond_language::compile(sentence, &defaults).map(Compiled::from).map_err(language_problem)
}

fn read_spec(spec: &Value) -> Result<Compiled, Problem> {
    let (spec, warnings) = bond_language::read_spec(spec).map_err(spec_problem)?;
    let warnings = warnings.iter().map(ToString::to_string).collect();
    Ok(Compiled { stream_id: spec.id().to_string(), spec, explanation: Vec::new(), warnings })
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidMessage, detail)
}

fn spec_problem(error: SpecError) -> Problem {
    let problem = invalid(error.to_string());
    let errors = error.problems.into_iter();
    problem.with_errors(errors.map(|one| FieldProblem { path: one.path, message: one.message }).collect())
}

fn language_problem(error: LanguageError) -> Problem {
    let reason = error.code.as_str();
    invalid(error.message).with_reason(reason).with_suggestions(error.suggestions)
}
