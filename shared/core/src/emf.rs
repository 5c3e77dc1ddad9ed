//! Metrics as log lines that CloudWatch turns into metrics (CloudWatch embedded metric format specification, read 2026-11). Processes
//! and functions write the lines to standard output.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::time::UnixNanos;

/// The CloudWatch namespace of all metrics of Bond.
pub const NAMESPACE: &str = "Bond";

/// The dimension that distinguishes deployments.
pub const DEPLOYMENT: &str = "Deployment";

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Milliseconds,
    Percent,
    None,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Percent => "Percent",
            Self::None => "None",
        }
    }
}

/// One metric: its name, unit and value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    name: &'static str,
    unit: Unit,
    value: f64,
}

impl Metric {
    /// A number of things.
    pub const fn count(name: &'static str, value: usize) -> Self {
        Self { name, unit: Unit::Count, value: value as f64 }
    }

    /// The average number of `things` for each one of `of`; 0 if `of` is 0.
    pub const fn ratio(name: &'static str, things: usize, of: u64) -> Self {
        let value = if of == 0 { 0.0 } else { things as f64 / of as f64 };
        Self { name, unit: Unit::Count, value }
    }

    /// A duration.
    pub fn time(name: &'static str, took: Duration) -> Self {
        Self { name, unit: Unit::Milliseconds, value: took.as_micros() as f64 / 1e3 }
    }

    /// 100 if something happened, else 0. The average over requests is then the percentage of requests in which it happened.
    pub const fn share(name: &'static str, happened: bool) -> Self {
        Self { name, unit: Unit::Percent, value: if happened { 100.0 } else { 0.0 } }
    }

    /// The percentage that `some` is of `all`; 0 if `all` is 0.
    pub const fn percent(name: &'static str, some: u64, all: u64) -> Self {
        let value = if all == 0 { 0.0 } else { 100.0 * some as f64 / all as f64 };
        Self { name, unit: Unit::Percent, value }
    }

    /// 1 if `is_so`, else 0. The maximum over processes says whether it is so anywhere; the sum says in how many.
    pub const fn flag(name: &'static str, is_so: bool) -> Self {
        Self { name, unit: Unit::None, value: if is_so { 1.0 } else { 0.0 } }
    }
}

/// A line that tells what happened at `at`. The metrics are found by the first of the dimensions alone, and by each more of them.
pub fn line(at: UnixNanos, dimensions: &[(&str, &str)], metrics: &[Metric]) -> String {
    let mut root = Map::new();
    root.insert("_aws".into(), directive(at, dimensions, metrics));
    for (name, value) in dimensions {
        root.insert((*name).into(), (*value).into());
    }
    for metric in metrics {
        root.insert(metric.name.into(), metric.value.into());
    }
    Value::Object(root).to_string()
}

fn directive(at: UnixNanos, dimensions: &[(&str, &str)], metrics: &[Metric]) -> Value {
    let names: Vec<&str> = dimensions.iter().map(|(name, _)| *name).collect();
    let sets: Vec<&[&str]> = (1..=names.len()).map(|count| &names[..count]).collect();
    let definitions: Vec<Value> =
        metrics.iter().map(|metric| json!({"Name": metric.name, "Unit": metric.unit.name()})).collect();
    json!({
        "Timestamp": at.as_millis(),
        "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": definitions}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_specification_requires() {
        let metrics = [Metric::count("Posts", 3), Metric::time("Duration", Duration::from_micros(1_500))];
        let dimensions = [(DEPLOYMENT, "prod"), ("Function", "fanout")];
        let text = line(UnixNanos::from_millis(1_700_000_000_123), &dimensions, &metrics);
        assert!(!text.contains('\n'), "one line");
        let line: Value = serde_json::from_str(&text).expect("json");
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Bond");
        assert_eq!(directive["Dimensions"], json!([["Deployment"], ["Deployment", "Function"]]));
        assert_eq!((&line["Deployment"], &line["Function"]), (&json!("prod"), &json!("fanout")));
        for metric in directive["Metrics"].as_array().expect("metrics") {
            assert!(line[metric["Name"].as_str().expect("a name")].is_number(), "{metric}");
        }
        assert_eq!((&line["Posts"], &line["Duration"]), (&json!(3.0), &json!(1.5)));
    }

    #[test]
    fn shares_are_percentages_and_nothing_of_nothing_is_none() {
        assert_eq!(Metric::share("ErrorPercent", true).value, 100.0);
        assert_eq!(Metric::share("ErrorPercent", false).value, 0.0);
        assert_eq!(Metric::percent("DroppedPercent", 1, 4).value, 25.0);
        assert_eq!(Metric::percent("DroppedPercent", 0, 0).value, 0.0);
        assert_eq!(Metric::ratio("EventsPerPost", 3, 0).value, 0.0);
    }
}
