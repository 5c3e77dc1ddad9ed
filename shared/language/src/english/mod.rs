//! The English that compiles to a spec.
//!
//! A sentence is split into tokens (`token`), these into phrases by what they are in themselves (`phrase`, from the words of
//! `lexicon`, the times of `timing` and the assets of `currency`); phrases get their meaning among their neighbours
//! (`resolve`, `strange`, `negation`). Nothing that may matter is left over (`leftover`). The phrases are gathered into a wish (`wish`,
//! `demand`), and that is written as a spec (`build`).
//!
//! Nothing is guessed: what is not an asset by the built-in table or spelled out as a pair never becomes one, and a word, number or
//! sign that is neither understood nor a filler is an error (`leftover`): it may be what matters.

use std::collections::BTreeSet;

use bond_core::instrument::Venue;
use bond_core::spec::StreamSpec;
use serde::Serialize;

mod build;
mod currency;
mod demand;
mod error;
mod explain;
mod filler;
mod leftover;
mod lexicon;
mod nearest;
mod negation;
mod own_thing;
mod phrase;
mod quantity;
mod resolve;
mod sentence;
mod strange;
mod suggest;
#[cfg(test)]
mod tests;
mod timing;
mod token;
mod wish;

pub use error::{LanguageCode, LanguageError};
pub use explain::Explanation;
pub use token::Span;

/// Characters in a sentence at most.
pub const MAX_CHARS: usize = 1000;

/// What a sentence leaves to the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The configured venues: "except bybit" names the others.
    pub venues: BTreeSet<Venue>,
}

impl Default for Defaults {
    /// Every served venue.
    fn default() -> Self {
        Self { venues: Venue::SERVED.into() }
    }
}

/// A sentence understood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compilation {
    /// The normalised spec. Its URLs are not guarded: see [`crate::guard_urls`].
    pub spec: StreamSpec,
    /// What each phrase led to, in the order of the sentence.
    pub explanation: Vec<Explanation>,
    /// Words that were not used, and what was rounded or read in one of two ways.
    pub warnings: Vec<String>,
}

/// Compiles a sentence.
///
/// # Errors
/// [`LanguageError`] where nothing was recognised, an asset or a venue is unknown, or the sentence contradicts itself.
pub fn compile(text: &str, defaults: &Defaults) -> Result<Compilation, LanguageError> {
    check_length(text)?;
    let mut sentence = sentence::Sentence { text, phrases: phrase::phrases(text), warnings: Vec::new() };
    resolve::resolve(&mut sentence)?;
    for at in negation::negate(&mut sentence.phrases) {
        sentence.warn_of_reading(at);
    }
    leftover::refuse_leftovers(&sentence)?;
    if let Some(at) = negation::partial(&sentence.phrases) {
        let message =
            "what is taken away is taken from every asset: make two streams for other things of each";
        let error = LanguageError::new(LanguageCode::Contradiction, message);
        return Err(error.at(sentence.phrases[at].span));
    }
    let wish = wish::wish(&mut sentence)?;
    let spec = build::spec(&wish, defaults, &mut sentence.warnings)?;
    let explanation = explain::explain(&sentence, &spec);
    Ok(Compilation { spec, explanation, warnings: sentence.warnings })
}

fn check_length(text: &str) -> Result<(), LanguageError> {
    if text.trim().is_empty() {
        let message = "the sentence is empty: say what to stream, such as \"BTC price + tweets every 5s\"";
        return Err(LanguageError::new(LanguageCode::Empty, message).suggest(suggest::EXAMPLES));
    }
    if text.chars().count() > MAX_CHARS {
        let message = format!("a sentence has {MAX_CHARS} characters at most");
        return Err(LanguageError::new(LanguageCode::TooLong, message));
    }
    Ok(())
}
