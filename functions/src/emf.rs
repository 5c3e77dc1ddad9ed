//! The metrics of one function, as log lines.

use std::io::Write;

use bond_core::emf::{self, DEPLOYMENT};
use bond_core::time::UnixNanos;

pub use bond_core::emf::Metric;

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
        let dimensions = [(DEPLOYMENT, self.deployment.as_str()), ("Function", self.function)];
        (self.sink)(&emf::line(at, &dimensions, metrics));
    }
}

fn print(line: &str) {
    // A line that cannot be written has nowhere else to go.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
