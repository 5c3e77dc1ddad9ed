//! Text of others, made fit for a terminal.

use std::fmt::Write;

/// `text` with every character that a terminal obeys instead of showing it spelled as `\uXXXX`, as JSON spells it.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A JSON text on one line, fit for a terminal, of the same value. Control characters outside of its strings can only be white space,
/// and inside of them `\uXXXX` means the character.
pub(super) fn escaped_json(json: &str) -> String {
    escaped(&json.replace(['\t', '\n', '\r'], " "))
}

/// Control characters, and those that change the direction of text or end a line.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_spelled_and_the_rest_is_kept() {
        let cases = [
            ("plain, é, 日本, 🚀", "plain, é, 日本, 🚀"),
            ("\u{1b}[31m", "\\u001b[31m"),
            ("a\nb\0", "a\\u000ab\\u0000"),
            ("\u{7f}\u{80}\u{9b}\u{9f}\u{a0}", "\\u007f\\u0080\\u009b\\u009f\u{a0}"),
            ("\u{202e}\u{2066}\u{200f}\u{61c}", "\\u202e\\u2066\\u200f\\u061c"),
        ];
        for (text, right) in cases {
            assert_eq!(escaped(text), right);
        }
    }

    #[test]
    fn escaped_json_is_the_same_value_on_one_line() {
        let json = "{\n\t\"text\": \"\u{9b}31m\u{202e}\\u001b\", \"price\": 0.10000000000000000000001}";
        let shown = escaped_json(json);
        assert!(!shown.contains(steers), "{shown}");
        assert!(shown.contains("0.10000000000000000000001"));
        let read =
            |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON")["text"].clone();
        assert_eq!(read(&shown), read(json));
    }
}
