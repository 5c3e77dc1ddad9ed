//! The metrics of one function, as log lines.

use std::io::Write;

use bond_core::emf::{self, DEPLOYMENT};
use bond_core::time::UnixNanos;

pub use bond_core::emf::Metric;

/// Writes a metric line.
pub type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Writes the metrics of one function.
pub struct Emf {
    deployment: String,
    function: &'static str,
    sink: Sink,
}

impl Emf {
    /// Writes to standard output, from which Lambda takes the lines.
    pub fn new(deployment: String, function: &'static str) -> Self {
        Self::to(deployment, function, Box::new(print))
    }

    /// Passes each line to `sink`.
    pub fn to(deployment: String, function: &'static str, sink: Sink) -> Self {
        Self { deployment, function, sink }
    }

    /// Writes metrics as of `at`. CloudWatch files them by deployment, and by deployment and function.
    pub fn write(&self, at: UnixNanos, metrics: &[Metric]) {
        let dimensions = [(DEPLOYMENT, self.deployment.as_str()), ("Function", self.function)];
        (self.sink)(&emf::line(at, &dimensions, metrics));
    }
}

fn print(line: &str) {
    // If standard output fails, there is no other place to report it.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
