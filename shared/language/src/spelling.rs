//! What a misspelt word may have been.

use strsim::osa_distance;

/// The nearest of `names`, in lower case: one slip away, or two where the word has nine letters or more.
///
/// Words and names of fewer than five letters are near too many others, and are not guessed. A name that is longer or shorter by more
/// than the slips is not looked at: so what a word costs does not grow with its length.
pub(crate) fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let word = word.to_lowercase();
    let slips = if word.len() >= 9 { 2 } else { 1 };
    let length = word.chars().count();
    names
        .filter(|name| name.len() >= 5 && word.len() >= 5)
        .filter(|name| name.chars().count().abs_diff(length) <= slips)
        .map(|name| (osa_distance(&word, name), name))
        .filter(|(distance, _)| *distance <= slips)
        .min()
        .map(|(_, name)| name)
}
