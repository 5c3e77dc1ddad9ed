//! What alarms watch, told once a minute as CloudWatch metrics: by every process whether it leads, by the one that does how it delivers.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bond_core::emf::{self, DEPLOYMENT, Metric};
use bond_core::time::Clock;
use bond_edge::host::leading::Leading;
use bond_edge::relay::{Relay, RelayFigures};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often it is told: alarms count the lines.
const EVERY: Duration = Duration::from_secs(60);

/// What is told, and by which name.
pub(crate) struct Figures {
    /// The deployment's name.
    pub(crate) deployment: String,
    /// Whether this process leads.
    pub(crate) leading: Leading,
    /// The relay, while it leads.
    pub(crate) relay: Arc<Mutex<Option<Relay>>>,
    /// Our time.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Figures {
    /// Tells them on standard output, at once and every minute until `cancel`.
    pub(crate) async fn tell(self, cancel: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            // A line that cannot be written has nowhere else to go.
            let _ = writeln!(std::io::stdout().lock(), "{}", self.line());
        }
    }

    fn line(&self) -> String {
        let mut told = vec![Metric::flag("Leading", self.leading.get())];
        if let Some(relay) = &*self.relay.lock() {
            told.extend(metrics(&relay.take_figures(), relay.stats().connections));
        }
        emf::line(self.clock.now(), &[(DEPLOYMENT, &self.deployment)], &told)
    }
}

fn metrics(figures: &RelayFigures, connections: usize) -> [Metric; 5] {
    let RelayFigures { delivered, dropped, delivery_p95, queue_depth, lag } = *figures;
    [
        Metric::percent("DroppedPercent", dropped, delivered + dropped),
        Metric::time("DeliveryP95Ms", delivery_p95),
        Metric::count("QueueDepth", usize::try_from(queue_depth).unwrap_or(usize::MAX)),
        Metric::time("RelayLagMs", lag),
        Metric::count("Connections", connections),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bond_core::time::UnixNanos;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> UnixNanos {
            UnixNanos::from_secs(1_700_000_000)
        }
    }

    #[test]
    fn a_process_that_stands_by_says_so_and_nothing_else() {
        let (leading, relay) = (Leading::default(), Arc::default());
        let figures = Figures { deployment: "prod".to_owned(), leading, relay, clock: Arc::new(Stopped) };
        let line = figures.line();
        assert!(line.contains(r#""Deployment":"prod""#) && line.contains(r#""Leading":0.0"#), "{line}");
        assert!(!line.contains("QueueDepth"), "{line}");
    }

    #[test]
    fn dropped_events_are_a_percentage_of_those_that_were_due() {
        let figures = RelayFigures {
            delivered: 300,
            dropped: 100,
            lag: Duration::from_millis(1_500),
            ..RelayFigures::default()
        };
        let told = metrics(&figures, 2);
        let line = emf::line(UnixNanos::EPOCH, &[], &told);
        assert!(
            line.contains(r#""DroppedPercent":25.0"#) && line.contains(r#""RelayLagMs":1500.0"#),
            "{line}"
        );
    }
}
