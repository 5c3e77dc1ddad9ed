//! What is logged, and in which form.

use bond_core::settings::SettingsError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::LogSettings;

/// Logs to standard error from here on, with the names of requests from the spans around.
///
/// # Errors
/// [`SettingsError`] where the filter is not understood, or logging was started before.
pub fn start(settings: &LogSettings) -> Result<(), SettingsError> {
    let failed = |why: String| SettingsError(vec![why]);
    let filter: Targets = settings.filter.parse().map_err(|error| failed(format!("BOND_LOG: {error}")))?;
    let layer = fmt::layer().with_writer(std::io::stderr);
    let started = match settings.json {
        // CloudWatch takes the time itself.
        true => {
            let layer = layer.json().flatten_event(true).with_span_list(false).without_time();
            tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
        }
        false => tracing_subscriber::registry().with(layer.with_ansi(false).with_filter(filter)).try_init(),
    };
    started.map_err(|error| failed(format!("logging cannot start: {error}")))
}
