//! What is logged, and in which form.

mod plain;

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use self::plain::Plain;
use crate::config::Settings;
use crate::failure::{Exit, Failure};

/// Logs to standard error from here on.
///
/// # Errors
/// Where the filter is not understood, or logging was started before.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(Exit::Failed, why);
    let filter: Targets =
        settings.log_filter.parse().map_err(|error| failed(format!("BOND_LOG: {error}")))?;
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match settings.log_json {
        true => tracing_subscriber::registry().with(layer.json().with_filter(filter)).try_init(),
        false => {
            let layer = layer.with_ansi(std::io::stderr().is_terminal()).fmt_fields(Plain);
            tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
        }
    };
    started.map_err(|error| failed(format!("logging cannot start: {error}")))
}
