//! What a client may say to get a stream, and the spec it means: English sentences, and specs as clients write them.
//!
//! [`compile`] understands a sentence. [`read_spec`] reads a spec in today's form or that of the system before, strictly, and reports
//! everything that is wrong with it at once. Both give a [`bond_core::spec::StreamSpec`], which is all that the rest of Bond knows:
//! registries, engine and edges depend on that alone, so that a new word here rebuilds none of them.

pub mod assets;
mod english;
mod spelling;
mod written;

pub use english::{
    Compilation, Defaults, Explanation, LanguageCode, LanguageError, MAX_CHARS, Span, compile,
};
pub use written::{Problem, SpecError, Warning, guard_urls, read_spec, read_spec_bytes};
