//! The rules for names of assets, in any script.

use smol_str::SmolStr;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The most bytes of an asset's name in UTF-8: 32 Latin letters, or 10 Chinese characters.
pub const MAX_ASSET_BYTES: usize = 32;

/// The name as Bond writes it, in upper case. `None` if the text is not a name: it is empty, longer than [`MAX_ASSET_BYTES`], has a character
/// for which [`is_name_char`] is false, or begins with a combining mark, which would join the character before the name.
///
/// The upper case is Unicode's, character by character. A character stays as it is if its upper case has several characters, or is an ASCII
/// letter although the character is not: `ß`, `ı` and `ſ`. So no name in another script is taken for `SOL`. Names are not normalised:
/// another sequence of characters is another asset, even if it looks the same.
pub(super) fn name(text: &str) -> Option<SmolStr> {
    let begins = text.chars().next().is_some_and(|first| !is_mark(first));
    let valid = begins && text.len() <= MAX_ASSET_BYTES && text.chars().all(is_name_char);
    let name: SmolStr = valid.then(|| text.chars().map(upper).collect())?;
    (name.len() <= MAX_ASSET_BYTES).then_some(name)
}

/// Whether a name may contain the character: a visible letter, digit or mark of any script. Spaces, punctuation, symbols, control
/// characters and characters that change the direction of text are not allowed.
pub fn is_name_char(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    let written = [GeneralCategoryGroup::Letter, GeneralCategoryGroup::Mark, GeneralCategoryGroup::Number];
    written.contains(&c.general_category_group()) && !is_invisible(c)
}

/// Whether the character is an invisible letter or mark: Unicode's `Default_Ignorable_Code_Point`, a set that has not grown for years.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) if c.is_ascii() || !one.is_ascii() => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_any_script_are_taken_and_upper_cased() {
        for (text, written) in [
            ("btc", "BTC"),
            ("1000pepe", "1000PEPE"),
            ("币安人生", "币安人生"),
            ("рубль", "РУБЛЬ"),
            ("ข้าว", "ข้าว"),
            ("हिन्दी", "हिन्दी"),
            ("شيبا", "شيبا"),
            ("straße", "STRAßE"),
            ("ſol", "ſOL"),
        ] {
            assert_eq!(name(text).as_deref(), Some(written), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_or_has_a_meaning_of_its_own_is_in_no_name() {
        let too_long = "币".repeat(11);
        for text in [
            "",
            "A B",
            "A/B",
            "A-B",
            "A:B",
            "A.B",
            "A_B",
            "A\nB",
            "A\u{7f}",
            "A\u{85}",
            "A\u{a0}B",
            "A\u{200b}B",
            "A\u{202e}B",
            "\u{2066}AB",
            "A\u{feff}",
            "A\u{ad}B",
            "\u{3164}",
            "A\u{34f}B",
            "A\u{fe0f}",
            "A\u{e0101}",
            "\u{301}A",
            "🚀",
            "A\u{e000}",
            &too_long,
        ] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_written_in_one_way(text in "\\PC{1,12}") {
            if let Some(written) = name(&text) {
                prop_assert_eq!(name(&written), Some(written.clone()));
                prop_assert_eq!(written.is_ascii(), text.is_ascii());
            }
        }
    }
}
