//! Words, numbers, URLs and marks of a sentence, with their places.

use bond_core::instrument::is_name_char;
use rust_decimal::Decimal;

use super::quantity;
use crate::assets;

/// A stretch of the sentence, in bytes of its UTF-8: from the first up to, not including, the second.
pub type Span = (usize, usize);

/// The smallest piece that means something.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) span: Span,
    pub(super) text: &'t str,
    /// Whether nothing stands between it and the token before.
    pub(super) glued: bool,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Letters and digits; here in lower case, with `'` for every apostrophe.
    Word(String),
    /// A number without a sign.
    Number(Decimal),
    /// `ws://…` or `http://…`, with or without an `s`.
    Url,
    /// A sign that may matter; every dash is `-`.
    Mark(char),
}

impl Token<'_> {
    /// The word in lower case; empty for anything else.
    pub(super) fn word(&self) -> &str {
        if let Kind::Word(word) = &self.kind { word } else { "" }
    }

    fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Number(_))
    }

    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// Splits a sentence. Quotes, emoji and whatever else has no meaning separate tokens and are dropped.
pub(super) fn tokenize(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let after_number = tokens.last().is_some_and(|last| last.span.1 == at && last.is_number());
        let (length, kind) = piece(rest, c, after_number);
        if let Some(kind) = kind {
            let span = (at, at + length);
            let glued = tokens.last().is_some_and(|last| last.span.1 == at);
            tokens.push(Token { span, text: &text[at..at + length], glued, kind });
        }
        at += length + possessive(&text[at + length..], c);
    }
    tokens
}

/// The length of the piece that `rest` begins with, and what it is; `None` where it means nothing.
fn piece(rest: &str, first: char, after_number: bool) -> (usize, Option<Kind>) {
    if let Some(length) = url(rest) {
        return (length, Some(Kind::Url));
    }
    if let Some((length, word)) = shorthand(rest) {
        return (length, Some(Kind::Word(word.to_owned())));
    }
    if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
        return number_or_word(rest);
    }
    if first.is_alphanumeric() {
        let unit = rest.find(|c: char| !c.is_alphabetic()).filter(|_| after_number);
        let unit = unit.filter(|length| quantity::follows_number(&normal(&rest[..*length])));
        let length = unit.unwrap_or_else(|| word_length(rest));
        return (length, Some(Kind::Word(normal(&rest[..length]))));
    }
    (first.len_utf8(), mark(first).map(Kind::Mark))
}

/// `w/o` and `w/`.
fn shorthand(rest: &str) -> Option<(usize, &'static str)> {
    let is = |short: &str| rest.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short));
    let ends = |length: usize| !rest[length..].starts_with(char::is_alphanumeric);
    (is("w/o") && ends(3)).then_some((3, "without")).or_else(|| is("w/").then_some((2, "with")))
}

/// A URL ends at a blank or a quote, and without the punctuation that follows it.
fn url(rest: &str) -> Option<usize> {
    let schemes = ["wss://", "ws://", "https://", "http://"];
    schemes.iter().find(|scheme| rest.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))?;
    let stop = |c: char| c.is_whitespace() || matches!(c, '"' | '“' | '”' | '<' | '>' | '`');
    let url = &rest[..rest.find(stop).unwrap_or(rest.len())];
    Some(url.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '\'', '’']).len())
}

fn word_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().peekable();
    let mut length = 0;
    while let Some((at, c)) = chars.next() {
        let inner = is_apostrophe(c) && chars.peek().is_some_and(|(_, next)| next.is_alphabetic());
        let written = c.is_alphanumeric() || is_name_char(c);
        if !written && !inner || ends_in_possessive(&rest[at..]) {
            break;
        }
        length = at + c.len_utf8();
    }
    length
}

const fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | 'ʼ')
}

fn ends_in_possessive(rest: &str) -> bool {
    let mut chars = rest.chars();
    chars.next().is_some_and(is_apostrophe)
        && chars.next().is_some_and(|c| c.eq_ignore_ascii_case(&'s'))
        && !chars.next().is_some_and(char::is_alphanumeric)
}

/// The length of the `'s` to skip after a word.
fn possessive(rest: &str, first: char) -> usize {
    let skip = first.is_alphanumeric() && ends_in_possessive(rest);
    if skip { rest.chars().take(2).map(char::len_utf8).sum() } else { 0 }
}

fn normal(word: &str) -> String {
    word.to_lowercase().replace(is_apostrophe, "'")
}

/// `5s` and `1h30m` are numbers before units, `1inch` and `1000PEPE` are words.
fn number_or_word(rest: &str) -> (usize, Option<Kind>) {
    let length = number_length(rest);
    let digits = rest[..length].bytes().all(|b| b.is_ascii_digit());
    let letters = word_length(&rest[length..]);
    let unit = &rest[length..length + letters];
    let unit = &unit[..unit.find(|c: char| !c.is_alphabetic()).unwrap_or(unit.len())];
    let word = &rest[..length + letters];
    let is_word =
        digits && letters > 0 && (assets::find(word).is_some() || !quantity::follows_number(&normal(unit)));
    let number = number_value(&rest[..length]).filter(|_| !is_word);
    match number {
        Some(number) => (length, Some(Kind::Number(number))),
        None => (length + letters, Some(Kind::Word(normal(word)))),
    }
}

/// Digits, groups of three after commas, and decimals after a point, or after a comma where these are no group of three.
fn number_length(rest: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(rest);
    while rest[length..].starts_with(',') && digits(&rest[length + 1..]) == 3 {
        length += 4;
    }
    let decimals = rest[length..].strip_prefix(['.', ',']).map_or(0, digits);
    if decimals > 0 { length + 1 + decimals } else { length }
}

fn number_value(text: &str) -> Option<Decimal> {
    let grouped = text.split('.').next()?.split(',').skip(1).all(|group| group.len() == 3);
    let plain = if grouped { text.replace(',', "") } else { text.replace(',', ".") };
    Decimal::from_str_exact(&plain).ok()
}

const fn mark(c: char) -> Option<char> {
    Some(match c {
        '–' | '—' | '‐' | '‑' | '−' | '-' => '-',
        '$' | '#' | '@' | '+' | '&' | '/' | ',' | '_' | ':' | ';' | '.' | '!' | '?' | '(' | ')' | '|' => c,
        '%' | '<' | '>' | '=' | '≥' | '≤' => c,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sentence: &str) -> Vec<&str> {
        tokenize(sentence).iter().map(|token| token.text).collect()
    }

    #[test]
    fn a_sentence_falls_into_words_numbers_and_marks() {
        assert_eq!(texts("BTC/USDT's price, 5s"), ["BTC", "/", "USDT", "price", ",", "5", "s"]);
        assert_eq!(texts("“don’t” 🚀 what's 1inch 1000PEPE"), ["don’t", "what", "1inch", "1000PEPE"]);
        assert_eq!(texts("币安人生/USDT, ข้าวUSDT Ⓐ"), ["币安人生", "/", "USDT", ",", "ข้าวUSDT", "Ⓐ"]);
        assert_eq!(texts("1h30m w/o w/x"), ["1", "h", "30", "m", "w/o", "w/", "x"]);
        assert_eq!(texts("see wss://a.b/c?d=1,2), ok"), ["see", "wss://a.b/c?d=1,2", ")", ",", "ok"]);
    }

    #[test]
    fn commas_in_numbers_group_or_divide() {
        for (text, value) in
            [("60,000", "60000"), ("0,5", "0.5"), (".5", "0.5"), ("1,234.5", "1234.5"), ("1.50", "1.50")]
        {
            let expected = Decimal::from_str_exact(value).expect("a number");
            assert_eq!(tokenize(text)[0].kind, Kind::Number(expected), "{text}");
        }
        assert_eq!(texts("BTC,ETH"), ["BTC", ",", "ETH"]);
    }

    #[test]
    fn spans_are_bytes_of_the_sentence() {
        let sentence = "“größe” – BTC";
        for token in tokenize(sentence) {
            assert_eq!(&sentence[token.span.0..token.span.1], token.text);
        }
    }
}
