//! What the name of an asset is made of, in any script.

use smol_str::SmolStr;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Bytes in the name of an asset at most, in UTF-8: 32 Latin letters, or 10 Chinese characters.
pub const MAX_ASSET_BYTES: usize = 32;

/// The name as Bond writes it: upper case. `None` where it is no name: empty, longer than [`MAX_ASSET_BYTES`], or with a character that is
/// not [`is_name_char`]. Names begin with no combining mark, which would join the sign before them.
///
/// Upper case is that of Unicode, character by character, where it is one character and does not turn another script's letter into an
/// ASCII one: `ß`, `ı` and `ſ` stay as they are, so that no name in another script is taken for `SOL`. Names are not normalised: one
/// that a venue writes in another sequence of characters is another asset.
pub(super) fn name(text: &str) -> Option<SmolStr> {
    let begins = text.chars().next().is_some_and(|first| !is_mark(first));
    let valid = begins && text.len() <= MAX_ASSET_BYTES && text.chars().all(is_name_char);
    let name: SmolStr = valid.then(|| text.chars().map(upper).collect())?;
    (name.len() <= MAX_ASSET_BYTES).then_some(name)
}

/// Whether a name may hold the character: a letter, digit or mark of any script that can be seen. So blanks, signs, control characters,
/// and those that change the direction of what follows are in no name.
pub fn is_name_char(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    let written = [GeneralCategoryGroup::Letter, GeneralCategoryGroup::Mark, GeneralCategoryGroup::Number];
    written.contains(&c.general_category_group()) && !is_invisible(c)
}

/// Whether it is a letter or mark that is not shown: those of Unicode's `Default_Ignorable_Code_Point`, a set that has not grown in years.
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
