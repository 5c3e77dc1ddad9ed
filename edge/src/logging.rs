//! What is logged, and in which form.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::command::{Exit, Failure};
use crate::config::Settings;

/// Logs to standard error from here on.
///
/// # Errors
/// Where the filter is not understood, or logging was started before.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(Exit::Failed, why);
    let filter =
        EnvFilter::try_new(&settings.log_filter).map_err(|error| failed(format!("BOND_LOG: {error}")))?;
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match settings.log_json {
        true => logs.json().try_init(),
        false => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|error| failed(format!("logging cannot start: {error}")))
}
