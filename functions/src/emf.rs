//! Metrics as log lines, which CloudWatch reads (CloudWatch embedded metric format specification, read 2026-11).

use std::io::Write;
use std::time::Duration;

use bond_core::time::UnixNanos;
use serde_json::{Map, Value, json};

/// Where all metrics of Bond are found.
pub const NAMESPACE: &str = "Bond";

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// Of a hundred.
    Percent,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Percent => "Percent",
        }
    }
}

/// One figure.
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

    /// So many things for each of others; 0 where there are none of these.
    pub const fn ratio(name: &'static str, things: usize, of: u64) -> Self {
        let value = if of == 0 { 0.0 } else { things as f64 / of as f64 };
        Self { name, unit: Unit::Count, value }
    }

    /// A time it took.
    pub fn time(name: &'static str, took: Duration) -> Self {
        Self { name, unit: Unit::Milliseconds, value: took.as_micros() as f64 / 1e3 }
    }

    /// 100 where it happened and 0 where it did not: the average over requests is the share of those that did.
    pub const fn share(name: &'static str, happened: bool) -> Self {
        Self { name, unit: Unit::Percent, value: if happened { 100.0 } else { 0.0 } }
    }
}

/// Where metric lines go.
pub type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Tells the metrics of one function.
pub struct Emf {
    deployment: String,
    function: &'static str,
    sink: Sink,
}

impl Emf {
    /// Tells them on standard output, where Lambda takes them from.
    pub fn new(deployment: String, function: &'static str) -> Self {
        Self::to(deployment, function, Box::new(print))
    }

    /// Tells them to `sink`, line by line.
    pub fn to(deployment: String, function: &'static str, sink: Sink) -> Self {
        Self { deployment, function, sink }
    }

    /// Tells what happened at `at`: by deployment, and by deployment and function.
    pub fn tell(&self, at: UnixNanos, metrics: &[Metric]) {
        (self.sink)(&self.line(at, metrics));
    }

    fn line(&self, at: UnixNanos, metrics: &[Metric]) -> String {
        let mut root = Map::new();
        root.insert("_aws".into(), directive(at, metrics));
        root.insert("Deployment".into(), self.deployment.as_str().into());
        root.insert("Function".into(), self.function.into());
        for metric in metrics {
            root.insert(metric.name.into(), metric.value.into());
        }
        Value::Object(root).to_string()
    }
}

fn directive(at: UnixNanos, metrics: &[Metric]) -> Value {
    let definitions: Vec<Value> =
        metrics.iter().map(|metric| json!({"Name": metric.name, "Unit": metric.unit.name()})).collect();
    json!({
        "Timestamp": at.as_millis(),
        "CloudWatchMetrics": [{
            "Namespace": NAMESPACE,
            "Dimensions": [["Deployment"], ["Deployment", "Function"]],
            "Metrics": definitions,
        }],
    })
}

fn print(line: &str) {
    // A line that cannot be written has nowhere else to go.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_specification_requires() {
        let emf = Emf::to("prod".into(), "fanout", Box::new(|_| {}));
        let metrics = [Metric::count("Posts", 3), Metric::time("Duration", Duration::from_micros(1_500))];
        let text = emf.line(UnixNanos::from_millis(1_700_000_000_123), &metrics);
        assert!(!text.contains('\n'), "one line");
        let line: Value = serde_json::from_str(&text).expect("json");
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Bond");
        for set in directive["Dimensions"].as_array().expect("sets") {
            for name in set.as_array().expect("a set") {
                assert!(line[name.as_str().expect("a name")].is_string(), "{name} has its value at the root");
            }
        }
        for metric in directive["Metrics"].as_array().expect("metrics") {
            assert!(line[metric["Name"].as_str().expect("a name")].is_number(), "{metric}");
        }
        assert_eq!((&line["Posts"], &line["Duration"]), (&json!(3.0), &json!(1.5)));
    }

    #[test]
    fn a_share_is_a_percentage_of_requests() {
        assert_eq!(Metric::share("ErrorPercent", true).value, 100.0);
        assert_eq!(Metric::share("ErrorPercent", false).value, 0.0);
    }
}
