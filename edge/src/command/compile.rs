//! `bond compile`: what a sentence means, without a server.

use std::collections::BTreeSet;

use bond_core::instrument::Venue;

use crate::failure::{Exit, Failure, Outcome};
use bond_api::rest::compile_sentence;

/// Prints the JSON that `POST /v1/compile` answers.
///
/// # Errors
/// Where the sentence is not understood.
pub fn run(text: &str) -> Outcome {
    let venues: BTreeSet<Venue> = Venue::SERVED.into();
    let compiled = compile_sentence(text, &venues).map_err(|problem| {
        let tries = problem.suggestions().iter().map(|suggestion| format!("\n  try: {suggestion}"));
        Failure::new(Exit::NotUnderstood, format!("{}{}", problem.detail(), tries.collect::<String>()))
    })?;
    let json = serde_json::to_string_pretty(&compiled).map_err(|error| Failure::new(Exit::Failed, error))?;
    println!("{json}");
    Ok(())
}
