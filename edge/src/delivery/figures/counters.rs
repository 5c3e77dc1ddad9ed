//! Counters by two labels, and histograms, with their text for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::alerts::LATENCY_BUCKETS;

/// Writes one sample of a metric: the suffix of its name, its labels, its value.
pub(super) type Out<'a> = &'a mut dyn FnMut(&str, &str, u64);

/// Writes a metric of this name and type.
pub(super) fn metric(text: &mut String, name: &str, kind: &str, samples: impl FnOnce(Out<'_>)) {
    // Writing to a text does not fail.
    let _ = writeln!(text, "# TYPE {name} {kind}");
    samples(&mut |suffix, labels, value| {
        // A sum is in nanoseconds, and is told in seconds.
        let value = if suffix == "_sum" {
            Duration::from_nanos(value).as_secs_f64().to_string()
        } else {
            value.to_string()
        };
        let _ = match labels {
            "" => writeln!(text, "{name}{suffix} {value}"),
            _ => writeln!(text, "{name}{suffix}{{{labels}}} {value}"),
        };
    });
    text.push('\n');
}

/// `name="value"` of each label, with commas between. No value needs escaping.
pub(super) fn labelled(labels: &[(&str, &str)]) -> String {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    labels.join(",")
}

/// Counters by a row and a column, which are the values of two labels.
#[derive(Debug)]
pub(super) struct Counters<const ROWS: usize, const COLUMNS: usize>([[AtomicU64; COLUMNS]; ROWS]);

impl<const ROWS: usize, const COLUMNS: usize> Default for Counters<ROWS, COLUMNS> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl<const ROWS: usize, const COLUMNS: usize> Counters<ROWS, COLUMNS> {
    pub(super) fn add(&self, row: usize, column: usize, count: u64) {
        self.0[row][column].fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self, row: usize, column: usize) -> u64 {
        self.0[row][column].load(Ordering::Relaxed)
    }

    /// The sum of a column.
    pub(super) fn column(&self, column: usize) -> u64 {
        (0..ROWS).map(|row| self.get(row, column)).sum()
    }

    /// Writes the counters of all rows and columns that have a name.
    pub(super) fn render(
        &self,
        text: &mut String,
        name: &str,
        (row_label, rows): (&str, &[&str]),
        (column_label, columns): (&str, &[&str]),
    ) {
        metric(text, name, "counter", |out| {
            for (row, of_row) in rows.iter().enumerate() {
                for (column, of_column) in columns.iter().enumerate() {
                    let labels = labelled(&[(row_label, of_row), (column_label, of_column)]);
                    out("", &labels, self.get(row, column));
                }
            }
        });
    }
}

/// How many values are in each bucket, and their sum in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; LATENCY_BUCKETS],
    nanos: AtomicU64,
}

/// The bucket of a value.
pub(super) fn bucket(value: Duration, bounds: &[f64]) -> usize {
    let seconds = value.as_secs_f64();
    bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len())
}

/// A time in nanoseconds, up to 584 years.
pub(super) fn nanos(value: Duration) -> u64 {
    u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram {
    pub(super) fn record(&self, value: Duration, bounds: &[f64]) {
        self.add(bucket(value, bounds), 1);
        self.add_nanos(nanos(value));
    }

    pub(super) fn add(&self, bucket: usize, count: u64) {
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_nanos(&self, nanos: u64) {
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Adds the counts of its buckets.
    pub(super) fn add_to(&self, sum: &mut [u64; LATENCY_BUCKETS]) {
        for (sum, count) in sum.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
    }

    pub(super) fn render(&self, labels: &str, bounds: &[f64], out: Out<'_>) {
        let bounds = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (bound, count) in bounds.zip(&self.counts) {
            sum += count.load(Ordering::Relaxed);
            out("_bucket", &format!("{labels},le=\"{bound}\""), sum);
        }
        out("_sum", labels, self.nanos.load(Ordering::Relaxed));
        out("_count", labels, sum);
    }
}
