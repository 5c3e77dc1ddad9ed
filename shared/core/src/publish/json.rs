//! JSON as publishers send it: checked, compact, and with the digits that they wrote.
//!
//! Scalars are carried as text, so that `0.1000` stays `0.1000`. Only objects are taken apart, and only as far as a patch reaches.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep objects and arrays may be nested.
pub const MOST_DEPTH: usize = 64;

/// Writes a JSON text without the white space between its parts.
///
/// # Errors
/// What is wrong with it: no JSON, a key twice in one object, or nested too deep.
pub fn compact(text: &str) -> Result<String, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let mut out = String::with_capacity(text.len());
    write(raw.get(), 0, &mut out)?;
    Ok(out)
}

fn write(text: &str, depth: usize, out: &mut String) -> Result<(), String> {
    if depth > MOST_DEPTH {
        return Err(format!("nested deeper than {MOST_DEPTH}"));
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(|error| error.to_string())?;
            list('{', '}', members, out, |(key, value), out| {
                out.push_str(&quoted(&key));
                out.push(':');
                write(value.get(), depth + 1, out)
            })
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            list('[', ']', values, out, |value, out| write(value.get(), depth + 1, out))
        }
        _ => {
            out.push_str(text);
            Ok(())
        }
    }
}

/// Writes `items` between brackets, with commas between them.
fn list<T>(
    open: char,
    close: char,
    items: Vec<T>,
    out: &mut String,
    write: impl Fn(T, &mut String) -> Result<(), String>,
) -> Result<(), String> {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(close);
    Ok(())
}

fn quoted(key: &str) -> String {
    serde_json::to_string(key).expect("a text is JSON")
}

/// An object's members in their order, each key once.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut members, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("a key twice in one object: {key:.80}")));
            }
            members.push((key, value));
        }
        Ok(Members(members))
    }
}

/// What the merge patch `patch` makes of `target` (RFC 7396). Both are what [`compact`] gave; an absent target counts as `{}`.
///
/// ```
/// # use bond_core::publish::merge_patch;
/// assert_eq!(merge_patch(Some(r#"{"a":1,"b":{"c":2}}"#), r#"{"a":null,"b":{"d":0.10}}"#), r#"{"b":{"c":2,"d":0.10}}"#);
/// ```
pub fn merge_patch(target: Option<&str>, patch: &str) -> String {
    let mut out = String::with_capacity(target.map_or(0, str::len) + patch.len());
    merge_into(target, patch, &mut out);
    out
}

fn merge_into(target: Option<&str>, patch: &str, out: &mut String) {
    let Some(changes) = object(patch) else {
        return out.push_str(patch);
    };
    let before = target.and_then(object).unwrap_or_default();
    let mut members: BTreeMap<String, Cow<'_, str>> =
        before.into_iter().map(|(key, value)| (key, Cow::Borrowed(value.get()))).collect();
    for (key, value) in changes {
        if value.get() == "null" {
            members.remove(&key);
            continue;
        }
        let merged = merge_patch(members.get(&key).map(Cow::as_ref), value.get());
        members.insert(key, Cow::Owned(merged));
    }
    write_object(&members, out);
}

/// The members of an object; `None` for what is no object.
fn object(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    text.starts_with('{').then(|| serde_json::from_str(text).unwrap_or_default())
}

fn write_object(members: &BTreeMap<String, Cow<'_, str>>, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&quoted(key));
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        // RFC 7396, appendix A.
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merge_patch(Some(target), patch), result, "{target} with {patch}");
        }
        assert_eq!(merge_patch(None, r#"{"a":null,"b":0.1000}"#), r#"{"b":0.1000}"#);
    }

    #[test]
    fn white_space_goes_and_digits_stay() {
        let text = "{ \"a\" : [ 1.00 , 1e400, \"x \\u0041\" ] , \"b\" : { } }";
        assert_eq!(compact(text).as_deref(), Ok(r#"{"a":[1.00,1e400,"x \u0041"],"b":{}}"#));
    }

    #[test]
    fn what_cannot_be_folded_is_refused_with_the_reason() {
        let deep = format!("{}{}", "[".repeat(MOST_DEPTH + 2), "]".repeat(MOST_DEPTH + 2));
        for (text, reason) in [
            (r#"{"a":{"b":1,"b":2}}"#, "a key twice in one object: b"),
            (r#"{"a":1,"\u0061":2}"#, "a key twice in one object: a"),
            ("{", "not JSON"),
            (&deep, "nested deeper than 64"),
        ] {
            assert!(compact(text).is_err_and(|error| error.contains(reason)), "{text}");
        }
    }
}
