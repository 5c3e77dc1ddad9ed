//! A spec as a client writes it: read strictly, with everything that is wrong reported at once, and made normal.

use bond_core::spec::{Source, StreamSpec, guard_url};
use serde_json::Value;

mod fields;
mod market;
mod object;
mod parse;
mod report;
mod source;
mod symbols;
#[cfg(test)]
mod tests;
mod transform;

pub use report::{Problem, SpecError, Warning};

/// Reads a spec as a client may write it, in today's form or that of the system before. The warnings say what was ignored.
///
/// URLs are read but not guarded: see [`guard_urls`].
///
/// # Errors
/// [`SpecError`] with every problem and its path.
pub fn read_spec(value: &Value) -> Result<(StreamSpec, Vec<Warning>), SpecError> {
    parse::spec(value)
}

/// Reads a spec from JSON text.
///
/// # Errors
/// [`SpecError`] as [`read_spec`], or where the text is not JSON.
pub fn read_spec_bytes(json: &[u8]) -> Result<(StreamSpec, Vec<Warning>), SpecError> {
    let value = serde_json::from_slice(json);
    let value: Value = value.map_err(|error| SpecError::of("", format!("not JSON: {error}")))?;
    read_spec(&value)
}

/// Refuses a spec with a URL whose text names a host that is not on the public internet, unless `allow_private`.
///
/// # Errors
/// [`SpecError`] with the path of every such URL.
pub fn guard_urls(spec: &StreamSpec, allow_private: bool) -> Result<(), SpecError> {
    let mut problems = Vec::new();
    for (i, source) in spec.sources().iter().enumerate() {
        let Source::WebSocket(websocket) = source else { continue };
        if let Err(error) = guard_url(&websocket.url, allow_private) {
            problems.push(Problem { path: format!("sources[{i}].url"), message: error.to_string() });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(SpecError { problems }) }
}
