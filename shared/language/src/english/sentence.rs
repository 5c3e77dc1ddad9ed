//! A sentence while it is being understood.

use super::phrase::{Item, Phrase};
use super::suggest;
use super::token::Span;

/// Its phrases, whose meaning grows clearer step by step.
#[derive(Debug)]
pub(super) struct Sentence<'t> {
    pub(super) text: &'t str,
    pub(super) phrases: Vec<Phrase>,
    pub(super) warnings: Vec<String>,
}

impl<'t> Sentence<'t> {
    pub(super) fn words(&self, span: Span) -> &'t str {
        &self.text[span.0..span.1]
    }

    /// The item `by` places from `at`.
    pub(super) fn item(&self, at: usize, by: isize) -> Option<&Item> {
        let at = at.checked_add_signed(by)?;
        self.phrases.get(at).map(|phrase| &phrase.item)
    }

    /// Warns that the phrase was read as wanted, though it stands in a list of what is not.
    pub(super) fn warn_of_reading(&mut self, at: usize) {
        let word = self.words(self.phrases[at].span);
        self.warnings
            .push(format!("\"{word}\" was read as wanted: for the opposite write \"without {word}\""));
    }

    /// Warns that a phrase was not used, with what it may have been meant for.
    pub(super) fn warn_unused(&mut self, span: Span) {
        let word = self.words(span);
        let hint =
            suggest::meant(word).map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
        self.warnings.push(format!("\"{word}\" was not used{hint}"));
    }

    pub(super) fn any(&self, what: impl Fn(&Item) -> bool) -> bool {
        self.phrases.iter().any(|phrase| what(&phrase.item))
    }
}

pub(super) const fn is_asset(item: &Item) -> bool {
    matches!(item, Item::Asset(_))
}

pub(super) const fn is_watch(item: &Item) -> bool {
    matches!(item, Item::Watch(_) | Item::Single(_) | Item::Figure { of_prices: true } | Item::Depth(_))
}

pub(super) const fn is_and(item: &Item) -> bool {
    matches!(item, Item::And { .. })
}
