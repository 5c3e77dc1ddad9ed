//! From a request to a spec: the boundary to the language and the spec's form.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bond_core::code::Code;
use bond_core::spec::{SpecError, StreamSpec, Warning};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::RestState;
use super::body::JsonObject;
use crate::auth::Caller;
use crate::problem::{FieldProblem, Problem};

/// A spec, and what is to be said about how it came about.
pub(super) struct Understood {
    pub(super) spec: StreamSpec,
    pub(super) explanation: String,
    pub(super) warnings: Vec<Warning>,
}

/// The spec that a body's `natural_language` or `spec` means.
pub(super) fn understand(body: &Map<String, Value>, allow_private: bool) -> Result<Understood, Problem> {
    let understood = match (body.get("natural_language"), body.get("spec")) {
        (Some(Value::String(sentence)), None) => read_sentence(sentence)?,
        (None, Some(spec)) => read_spec(spec)?,
        (Some(_), Some(_)) => return Err(refuse("give natural_language or spec, not both")),
        (Some(_), None) => return Err(refuse("natural_language must be a string, such as \"BTC price every 5s\"")),
        (None, None) => return Err(refuse("give natural_language, such as \"BTC price every 5s\", or spec")),
    };
    understood.spec.guard_urls(allow_private).map_err(spec_problem)?;
    Ok(understood)
}
