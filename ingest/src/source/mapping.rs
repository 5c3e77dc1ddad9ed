//! Finds the value and the time in a user's message by JSON pointers (RFC 6901). The value's digits stay as they are.

use std::collections::HashMap;

use bond_core::decimal::parse_decimal;
use bond_core::spec::FieldMap;
use bond_core::time::UnixNanos;
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    /// The value as JSON text; the whole message if no pointer is given.
    pub(super) value: String,
    /// The sender's time, if it is given and can be read.
    pub(super) time: Option<UnixNanos>,
}

/// Maps a message; `None` if it is not JSON or lacks the value.
pub(super) fn map(message: &str, fields: &FieldMap) -> Option<Mapped> {
    let root: &RawValue = serde_json::from_str(message).ok()?;
    let value = find(root, fields.value.as_deref().unwrap_or_default())?.get().to_owned();
    let time = fields.ts.as_deref().and_then(|pointer| find(root, pointer)).and_then(|ts| time(ts.get()));
    Some(Mapped { value, time })
}

fn find<'a>(root: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    pointer.split('/').skip(1).try_fold(root, |value, token| child(value, token))
}

fn child<'a>(value: &'a RawValue, token: &str) -> Option<&'a RawValue> {
    let text = value.get();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return items.get(token.parse::<usize>().ok()?).copied();
    }
    let mut fields: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    fields.remove(&token.replace("~1", "/").replace("~0", "~"))
}

/// Reads a time: RFC 3339, or a Unix time as number or text. The unit of a Unix time follows from its size: seconds up to the year 5138,
/// then milliseconds, microseconds and nanoseconds.
fn time(json: &str) -> Option<UnixNanos> {
    let text = json.trim_matches('"');
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return i64::try_from(moment.unix_timestamp_nanos()).ok().map(UnixNanos::from_nanos);
    }
    let number = parse_decimal(text).ok()?;
    let nanos_per_unit = match number.abs().trunc().mantissa().to_string().len() {
        ..=11 => 1_000_000_000_i64,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    let nanos = number.checked_mul(Decimal::from(nanos_per_unit))?.trunc();
    i64::try_from(nanos).ok().map(UnixNanos::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: &str, ts: &str) -> FieldMap {
        FieldMap { value: Some(value.to_owned()), ts: Some(ts.to_owned()) }
    }

    fn value(message: &str, pointer: &str) -> Option<String> {
        map(message, &fields(pointer, "/ts")).map(|mapped| mapped.value)
    }

    #[test]
    fn figures_keep_every_digit() {
        let message = r#"{"p": 0.10000000000000000000001, "a/b": [1, {"~": "x"}], "n": null}"#;
        assert_eq!(value(message, "/p").as_deref(), Some("0.10000000000000000000001"));
        assert_eq!(value(message, "/a~1b/1/~0").as_deref(), Some("\"x\""));
        assert_eq!(value(message, "/a~1b/0").as_deref(), Some("1"));
        assert_eq!(value(message, "/n").as_deref(), Some("null"));
        assert_eq!(value(message, "").as_deref(), Some(message));
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        for (message, pointer) in
            [("{}", "/p"), ("[1]", "/1"), ("[1]", "/x"), ("1", "/p"), ("hello", ""), ("{\"p\":", "/p")]
        {
            assert_eq!(value(message, pointer), None, "{message} {pointer}");
        }
    }

    #[test]
    fn times_are_read_in_every_usual_form() {
        let expected = Some(UnixNanos::from_millis(1_723_161_255_208));
        for ts in [
            "1723161255.208",
            "1723161255208",
            "1723161255208000",
            "1723161255208000000",
            "\"1723161255208\"",
            "\"2024-08-08T23:54:15.208Z\"",
            "\"2024-08-09T01:54:15.208+02:00\"",
        ] {
            assert_eq!(time(ts), expected, "{ts}");
        }
        assert_eq!(time("\"yesterday\""), None);
        assert_eq!(time("1e30"), None);
    }
}
