//! Reading `transforms`.

use std::collections::{BTreeMap, BTreeSet};

use bond_core::spec::{Agg, Interval, Transform, Window};
use serde_json::Value;
use smol_str::SmolStr;

use super::fields::Fields;
use super::object::{Object, kind, shorten};
use super::report::Report;

/// Transforms in one stream at most.
const MAX_TRANSFORMS: usize = 16;

/// What is wrong with a name for a new field.
const NOT_FREE: &str =
    "not a free field name: use lower-case letters, digits and _, and no name that is taken";

/// What the first transform builds on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aggregates {
    /// Their interval; `None`: there are no aggregates.
    pub(super) interval: Option<Interval>,
    /// Whether they have the figures of funding.
    pub(super) has_funding: bool,
    /// Whether the spec is one for the system before, which called figures otherwise.
    pub(super) is_legacy: bool,
}

/// What the next transform builds on.
struct Stage {
    fields: Fields,
    step_ms: u32,
    is_legacy: bool,
}

/// Reads the list.
pub(super) fn transforms(
    value: Option<&Value>,
    aggregates: Aggregates,
    report: &mut Report,
) -> Vec<Transform> {
    let items = match value {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            report.problem("transforms", format!("expected a list, not {}", kind(other)));
            return Vec::new();
        }
    };
    let refusal = if items.len() > MAX_TRANSFORMS {
        Some("too many: a stream has 16 transforms at most")
    } else if aggregates.interval.is_none() && !items.is_empty() {
        Some("there are no aggregates without an interval: set interval_sec, or drop these")
    } else {
        None
    };
    if let Some(refusal) = refusal {
        report.problem("transforms", refusal);
        return Vec::new();
    }
    over_aggregates(items, aggregates, report)
}

fn over_aggregates(items: &[Value], aggregates: Aggregates, report: &mut Report) -> Vec<Transform> {
    let Aggregates { interval, has_funding, is_legacy } = aggregates;
    let step_ms = interval.unwrap_or(Interval::DEFAULT).as_millis();
    let mut stage = Stage { fields: Fields::of_aggregate(has_funding), step_ms, is_legacy };
    let mut transforms = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let Some(transform) = transform(&format!("transforms[{i}]"), item, &stage, report) else { continue };
        stage.fields.apply(&transform);
        stage.step_ms = transform.window().map_or(stage.step_ms, Window::as_millis);
        transforms.push(transform);
    }
    transforms
}

fn transform(path: &str, value: &Value, stage: &Stage, report: &mut Report) -> Option<Transform> {
    let mut object = Object::new(path, value, report)?;
    let transform = match object.required("op", "resample, count or project", report)? {
        "resample" => resample(&mut object, stage, report),
        "count" => count(&mut object, stage, report),
        "project" => project(&mut object, stage, report),
        other => {
            let message = format!("unknown op: {}; known are resample, count, project", shorten(other));
            report.problem(object.at("op"), message);
            return None;
        }
    };
    object.finish(report);
    transform
}

fn resample(object: &mut Object<'_>, stage: &Stage, report: &mut Report) -> Option<Transform> {
    let window = window(object, stage, report);
    let agg = aggs(object, report);
    let on = field_name(figure_to_resample(object, stage, report)?);
    if !stage.fields.has_figure(on) {
        let known = stage.fields.figure_names();
        report.problem(object.at("on"), format!("no such figure: {}; there are {known}", shorten(on)));
    }
    Some(Transform::Resample { window: window?, on: on.into(), agg: agg? })
}

/// The system before knew of one figure, which nobody had to name.
fn figure_to_resample<'a>(object: &mut Object<'a>, stage: &Stage, report: &mut Report) -> Option<&'a str> {
    if stage.is_legacy && object.given("on").is_none() {
        report.warn(object.at("on"), "not named: price_avg was taken, as for the system before");
        return Some("price_avg");
    }
    object.required("on", "the field to resample, such as price_avg", report)
}

fn aggs(object: &mut Object<'_>, report: &mut Report) -> Option<BTreeSet<Agg>> {
    let Some(names) = object.texts("agg", report) else { return Some([Agg::Mean].into()) };
    if names.is_empty() {
        report.problem(object.at("agg"), "empty: name one or more of count, last, max, mean, min, sum");
        return None;
    }
    let mut aggs = BTreeSet::new();
    for (path, name) in names {
        let known = Agg::from_name(name).ok_or_else(|| {
            format!("unknown aggregation: {}; known are count, last, max, mean, min, sum", shorten(name))
        });
        aggs.extend(report.ok(&path, known));
    }
    Some(aggs)
}

fn count(object: &mut Object<'_>, stage: &Stage, report: &mut Report) -> Option<Transform> {
    let window = window(object, stage, report);
    let name = object.text("as", report).unwrap_or("count");
    if !is_new_name(name) || stage.fields.has(name) {
        report.problem(object.at("as"), format!("{NOT_FREE}: {}", shorten(name)));
        return None;
    }
    Some(Transform::Count { window: window?, name: name.into() })
}

fn is_new_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(valid)
}

fn project(object: &mut Object<'_>, stage: &Stage, report: &mut Report) -> Option<Transform> {
    let mut named = named(object, stage, report);
    let names = object.texts("fields", report).unwrap_or_default();
    if names.is_empty() && named.is_empty() {
        report.problem(object.at("fields"), "missing: the fields to keep");
        return None;
    }
    let mut fields = BTreeSet::new();
    for (path, name) in names {
        let field = field_name(name);
        if let Some(figure) = legacy_figure(name, stage) {
            named.insert(name.into(), figure.into());
        } else if stage.fields.has(field) {
            fields.insert(SmolStr::from(field));
        } else {
            report.problem(path, format!("no such field at this point: {}", shorten(name)));
        }
    }
    Some(Transform::Project { fields, named })
}

/// What the system before called a figure that it gave under this name.
fn legacy_figure(name: &str, stage: &Stage) -> Option<&'static str> {
    let figure = match name {
        "price" => "price_avg",
        "volume" => "volume_sum",
        _ => return None,
    };
    (stage.is_legacy && !stage.fields.has(name) && stage.fields.has_figure(figure)).then_some(figure)
}

/// New names of figures: `{"price": "price_avg"}`.
fn named(object: &mut Object<'_>, stage: &Stage, report: &mut Report) -> BTreeMap<SmolStr, SmolStr> {
    let path = object.at("named");
    let Some(given) = object.given("named").and_then(|value| Object::new(&path, value, report)) else {
        return BTreeMap::new();
    };
    let mut named = BTreeMap::new();
    for (name, figure) in given.texts_by_name(report) {
        if !is_new_name(name) || stage.fields.has(name) {
            report.problem(given.at(&shorten(name)), NOT_FREE);
        } else if !stage.fields.has_figure(figure) {
            report.problem(given.at(name), format!("no such figure: {}", shorten(figure)));
        } else {
            named.insert(name.into(), figure.into());
        }
    }
    named
}

/// The field that a short name means.
fn field_name(name: &str) -> &str {
    if name == "price" { "price_close" } else { name }
}

fn window(object: &mut Object<'_>, stage: &Stage, report: &mut Report) -> Option<Window> {
    let text = object.required("window", "a length of time, such as 60s", report)?;
    let path = object.at("window");
    let window = Window::parse(text).ok_or_else(|| {
        format!("not a window: {}; write 500ms, 60s, 1m, 1h or 1d, up to a day", shorten(text))
    });
    let window = report.ok(&path, window)?;
    if !window.is_multiple_of_ms(stage.step_ms) {
        let step = f64::from(stage.step_ms) / 1000.0;
        report.problem(path, format!("{window} is not a multiple of the {step}s before it"));
    }
    Some(window)
}
