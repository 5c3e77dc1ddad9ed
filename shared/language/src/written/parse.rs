//! Reading a whole spec.

use std::collections::BTreeSet;

use bond_core::event::Channel;
use bond_core::instrument::{MarketType, Symbol};
use bond_core::spec::{Interval, MAX_TTL_SEC, SizeError, Source, StreamSpec};
use bond_core::store::Labels;
use serde_json::Value;

use super::object::{Object, kind, shorten};
use super::report::{Report, SpecError, Warning};
use super::source::{is_legacy, sources, wants_legacy_default};
use super::symbols::Named;
use super::transform::{Aggregates, transforms};

/// Characters in a label at most.
const MAX_LABEL_CHARS: usize = 2000;

pub(super) fn spec(value: &Value) -> Result<(StreamSpec, Vec<Warning>), SpecError> {
    let mut report = Report::default();
    let spec = read(value, &mut report);
    let warnings = report.finish()?;
    let spec = spec.ok_or_else(|| SpecError::of("", "not a spec"))?;
    Ok((spec, warnings))
}

fn read(value: &Value, report: &mut Report) -> Option<StreamSpec> {
    let mut object = Object::new("", value, report)?;
    version(&mut object, report);
    let written = object.get("sources");
    let symbols = symbols(&mut object, written, report);
    let sources = sources(written, symbols.as_ref(), report);
    let interval = interval(&mut object, report);
    let has_funding = sources.iter().any(has_funding);
    let aggregates = Aggregates { interval, has_funding, is_legacy: is_legacy(written) };
    let transforms = transforms(object.get("transforms"), aggregates, report);
    let ttl_sec = ttl(&mut object, report);
    let (name, description) = (label(&mut object, "name", report), label(&mut object, "description", report));
    object.finish(report);
    if !report.is_clean() {
        return None;
    }
    match StreamSpec::new(sources, interval) {
        Ok(spec) => {
            check_symbols(&spec, symbols, report);
            let labels = Labels { name, description, ttl_sec };
            Some(spec.with_transforms(transforms).with_labels(labels))
        }
        Err(error) => {
            let path = if error == SizeError::Sources { "sources" } else { "symbols" };
            report.problem(path, error.to_string());
            None
        }
    }
}

/// The symbols at the top; in their place, what the system before took where it was told of none.
fn symbols(object: &mut Object<'_>, sources: Option<&Value>, report: &mut Report) -> Option<Named> {
    let named = Named::of(object, None, report);
    if named.as_ref().is_some_and(Named::names_any) || !wants_legacy_default(sources) {
        return named;
    }
    report.warn("symbols", "none is named anywhere: BTC/USDT was taken, as for the system before");
    Some(Named::legacy_default())
}

fn has_funding(source: &Source) -> bool {
    matches!(source, Source::Market(market) if market.channels.contains(&Channel::Funding))
}

fn version(object: &mut Object<'_>, report: &mut Report) {
    if let Some(other) = object.text("version", report).filter(|version| *version != "v1") {
        report.problem("version", format!("unknown version: {}; this is v1", shorten(other)));
    }
}

/// Left out is the default; `null` is none.
fn interval(object: &mut Object<'_>, report: &mut Report) -> Option<Interval> {
    match object.get("interval_sec") {
        None => Some(Interval::DEFAULT),
        Some(Value::Null) => None,
        Some(Value::Number(number)) => report.ok("interval_sec", Interval::from_json_seconds(number)),
        Some(other) => {
            report.problem(
                "interval_sec",
                format!("expected a number of seconds or null, not {}", kind(other)),
            );
            None
        }
    }
}

fn ttl(object: &mut Object<'_>, report: &mut Report) -> Option<u32> {
    let value = object.given("ttl_sec")?;
    let ttl = value.as_u64().and_then(|ttl| u32::try_from(ttl).ok());
    let ttl = ttl.filter(|ttl| (1..=MAX_TTL_SEC).contains(ttl));
    report.ok("ttl_sec", ttl.ok_or_else(|| format!("a whole number of seconds, 1 to {MAX_TTL_SEC}, or null")))
}

fn label(object: &mut Object<'_>, field: &'static str, report: &mut Report) -> Option<String> {
    let text = object.text(field, report)?;
    if text.chars().count() > MAX_LABEL_CHARS {
        report.problem(field, format!("longer than {MAX_LABEL_CHARS} characters"));
    }
    Some(text.to_owned())
}

/// The symbols at the top must be those of the sources; which market of a pair is meant, the sources say.
fn check_symbols(spec: &StreamSpec, named: Option<Named>, report: &mut Report) {
    let Some(named) = named else { return };
    if as_pairs(&named.symbols) != as_pairs(spec.symbols()) {
        let derived: Vec<String> = spec.symbols().iter().map(ToString::to_string).collect();
        let advice = match derived.as_slice() {
            [] => "leave them out, the sources have none".to_owned(),
            derived => format!("leave them out, or write {}", derived.join(", ")),
        };
        report.problem("symbols", format!("these are derived from the sources: {advice}"));
    }
}

fn as_pairs(symbols: &BTreeSet<Symbol>) -> BTreeSet<Symbol> {
    symbols.iter().map(|symbol| symbol.on(MarketType::Spot)).collect()
}
