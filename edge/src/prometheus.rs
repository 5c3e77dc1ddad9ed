//! The process's metrics, as Prometheus reads them.
//!
//! This is written by hand because Bond has only two dozen metrics, and the usual exporter takes long to compile.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::RwLock;

/// The upper bounds of a histogram's buckets. All histograms are of seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The metrics of the process. A clone is another handle on the same metrics.
#[derive(Clone, Default)]
pub struct Prometheus(Arc<Kinds>);

/// Writes series that are counted elsewhere.
pub type Series = Box<dyn Fn(&mut String) + Send + Sync>;

impl Prometheus {
    /// Installs itself as the recorder of all metrics of the process.
    ///
    /// # Errors
    /// Fails if a recorder is installed already.
    pub fn install() -> anyhow::Result<Self> {
        let prometheus = Self::default();
        metrics::set_global_recorder(prometheus.clone())
            .map_err(|_| anyhow::anyhow!("metrics are taken in already"))?;
        Ok(prometheus)
    }

    /// Has series written that are counted elsewhere. Only the first call has an effect.
    pub fn attach(&self, series: Series) {
        self.0.others.get_or_init(|| series);
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let Kinds { counters, gauges, histograms, others } = &*self.0;
        let mut text = String::new();
        counters.render(&mut text, "counter", |text, name, labels, value| {
            sample(text, name, "", labels, value.load(Ordering::Relaxed));
        });
        gauges.render(&mut text, "gauge", |text, name, labels, value| {
            sample(text, name, "", labels, f64::from_bits(value.load(Ordering::Relaxed)));
        });
        histograms.render(&mut text, "histogram", |text, name, labels, buckets| {
            buckets.render(text, name, labels);
        });
        if let Some(series) = others.get() {
            series(&mut text);
        }
        text
    }
}

#[derive(Default)]
struct Kinds {
    counters: ByName<AtomicU64>,
    gauges: ByName<AtomicU64>,
    histograms: ByName<Buckets>,
    others: OnceLock<Series>,
}

/// The metrics of one kind, by name and then by labels as they are written.
struct ByName<M>(RwLock<BTreeMap<String, BTreeMap<String, Arc<M>>>>);

impl<M> Default for ByName<M> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<M: Default> ByName<M> {
    fn of(&self, key: &Key) -> Arc<M> {
        let labels = labels(key);
        if let Some(found) = self.0.read().get(key.name()).and_then(|by_labels| by_labels.get(&labels)) {
            return Arc::clone(found);
        }
        let mut all = self.0.write();
        Arc::clone(all.entry(key.name().to_owned()).or_default().entry(labels).or_default())
    }

    fn render(&self, text: &mut String, kind: &str, one: impl Fn(&mut String, &str, &str, &M)) {
        for (name, by_labels) in &*self.0.read() {
            // Writing to a text does not fail.
            let _ = writeln!(text, "# TYPE {name} {kind}");
            by_labels.iter().for_each(|(labels, metric)| one(text, name, labels, metric));
            text.push('\n');
        }
    }
}

/// `name="value"` of each label, with commas between.
fn labels(key: &Key) -> String {
    let mut text = String::new();
    for label in key.labels() {
        let value = label.value().replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{}=\"{value}\"", label.key());
    }
    text
}

fn sample(text: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name}{suffix} {value}")
    } else {
        writeln!(text, "{name}{suffix}{{{labels}}} {value}")
    };
}

/// A histogram: the number of values in each bucket, and the sum of all values.
#[derive(Default)]
struct Buckets {
    /// The number of values up to each bound and above the one before. The last is for values above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// The bits of a floating-point number.
    sum: AtomicU64,
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        GaugeFn::increment(&self.sum, value);
    }
}

impl Buckets {
    fn render(&self, text: &mut String, name: &str, labels: &str) {
        let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (bound, count) in bounds.zip(&self.counts) {
            sum += count.load(Ordering::Relaxed);
            sample(text, name, "_bucket", &format!("{labels}{comma}le=\"{bound}\""), sum);
        }
        sample(text, name, "_sum", labels, f64::from_bits(self.sum.load(Ordering::Relaxed)));
        sample(text, name, "_count", labels, sum);
    }
}

impl Recorder for Prometheus {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let counter: Arc<AtomicU64> = self.0.counters.of(key);
        Counter::from_arc(counter)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let gauge: Arc<AtomicU64> = self.0.gauges.of(key);
        Gauge::from_arc(gauge)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.0.histograms.of(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let prometheus = Prometheus::default();
        metrics::with_local_recorder(&prometheus, || {
            metrics::counter!("closed_total", "code" => "1000", "why" => "a \"b\"\\").increment(2);
            metrics::counter!("closed_total", "code" => "1000", "why" => "a \"b\"\\").increment(1);
            metrics::gauge!("open").set(2.5);
            metrics::gauge!("open").decrement(1.0);
            metrics::histogram!("lag_seconds").record(0.004);
            metrics::histogram!("lag_seconds").record(20.0);
        });
        let text = prometheus.render();
        let expected = "# TYPE closed_total counter\nclosed_total{code=\"1000\",why=\"a \\\"b\\\"\\\\\"} 3\n\n\
            # TYPE open gauge\nopen 1.5\n\n\
            # TYPE lag_seconds histogram\nlag_seconds_bucket{le=\"0.001\"} 0\nlag_seconds_bucket{le=\"0.0025\"} 0\n\
            lag_seconds_bucket{le=\"0.005\"} 1\n";
        assert!(text.starts_with(expected), "{text}");
        let end = "lag_seconds_bucket{le=\"10\"} 1\nlag_seconds_bucket{le=\"+Inf\"} 2\nlag_seconds_sum 20.004\nlag_seconds_count 2\n\n";
        assert!(text.ends_with(end), "{text}");
    }
}
