//! Strict reading of one JSON object: what is left unread in the end is an unknown field.

use bond_core::spec::MAX_SYMBOLS;
use serde_json::{Map, Value};

use super::report::Report;

/// A JSON object being read, and where it stands in the spec.
#[derive(Debug)]
pub(super) struct Object<'a> {
    path: String,
    fields: &'a Map<String, Value>,
    read: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// `value` as an object; a problem is recorded where it is none.
    pub(super) fn new(path: &str, value: &'a Value, report: &mut Report) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self { path: path.to_owned(), fields, read: Vec::new() }),
            other => {
                report.problem(path, format!("expected an object, not {}", kind(other)));
                None
            }
        }
    }

    /// The path of a field.
    pub(super) fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// A field that may be absent; `null` counts as present.
    pub(super) fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        if !self.read.contains(&field) {
            self.read.push(field);
        }
        self.fields.get(field)
    }

    /// A field that may be absent or `null`.
    pub(super) fn given(&mut self, field: &'static str) -> Option<&'a Value> {
        self.get(field).filter(|value| !value.is_null())
    }

    /// A text that may be absent.
    pub(super) fn text(&mut self, field: &'static str, report: &mut Report) -> Option<&'a str> {
        let value = self.given(field)?;
        if value.as_str().is_none() {
            report.problem(self.at(field), format!("expected a string, not {}", kind(value)));
        }
        value.as_str()
    }

    /// A text that must be there.
    pub(super) fn required(
        &mut self,
        field: &'static str,
        what: &str,
        report: &mut Report,
    ) -> Option<&'a str> {
        if self.given(field).is_none() {
            report.problem(self.at(field), format!("missing: {what}"));
        }
        self.text(field, report)
    }

    /// A list of texts that may be absent, each with its path; one text stands for a list of one. No list of a spec has more than
    /// [`MAX_SYMBOLS`] entries, and what is beyond is not read.
    pub(super) fn texts(
        &mut self,
        field: &'static str,
        report: &mut Report,
    ) -> Option<Vec<(String, &'a str)>> {
        let path = self.at(field);
        match self.given(field)? {
            Value::String(text) => Some(vec![(path, text)]),
            Value::Array(items) => Some(items_as_texts(&path, items, report)),
            other => {
                report.problem(path, format!("expected a list of strings, not {}", kind(other)));
                None
            }
        }
    }

    /// Every field, whatever its name, with its text: [`MAX_SYMBOLS`] at most, and what is beyond is not read.
    pub(super) fn texts_by_name(&self, report: &mut Report) -> Vec<(&'a str, &'a str)> {
        if self.fields.len() > MAX_SYMBOLS {
            report.problem(&self.path, format!("{} entries; {MAX_SYMBOLS} at most", self.fields.len()));
        }
        let mut texts = Vec::new();
        for (name, value) in self.fields.iter().take(MAX_SYMBOLS) {
            match value.as_str() {
                Some(text) => texts.push((name.as_str(), text)),
                None => {
                    report
                        .problem(self.at(&shorten(name)), format!("expected a string, not {}", kind(value)));
                }
            }
        }
        texts
    }

    /// Reads a field only to say that it is ignored.
    pub(super) fn ignore(&mut self, field: &'static str, why: &str, report: &mut Report) {
        if self.get(field).is_some() {
            report.warn(self.at(field), format!("ignored: {why}"));
        }
    }

    /// Records every field that was not read as unknown.
    pub(super) fn finish(self, report: &mut Report) {
        let known = self.read.join(", ");
        for field in self.fields.keys().filter(|field| !self.read.contains(&field.as_str())) {
            if !report.has_room() {
                return;
            }
            report.problem(self.at(&shorten(field)), format!("unknown field; known here: {known}"));
        }
    }
}

fn items_as_texts<'a>(path: &str, items: &'a [Value], report: &mut Report) -> Vec<(String, &'a str)> {
    if items.len() > MAX_SYMBOLS {
        report.problem(path, format!("{} entries; a list has {MAX_SYMBOLS} at most: split it", items.len()));
    }
    let items = items.get(..MAX_SYMBOLS).unwrap_or(items);
    let mut texts = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match item {
            Value::String(text) => texts.push((path, text.as_str())),
            other => report.problem(path, format!("expected a string, not {}", kind(other))),
        }
    }
    texts
}

/// The kind of a JSON value, for messages.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A text from outside, short enough to repeat in a message.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}
