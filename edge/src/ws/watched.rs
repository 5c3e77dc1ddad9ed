//! How connections to topics fare: looked at now and then, and by whoever asks.

use std::sync::Arc;
use std::time::Duration;

use bond_core::log::EventLog;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use bond_ingest::engine::Ports;
use parking_lot::Mutex;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::shared::Shared;
use crate::alerts::{Alert, AlertConfig, Alerts, Fare, Sample};

/// How long the log may take to answer.
const LOG_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// How long what it answered holds, however many ask.
const LOG_LOOK_HOLDS: Duration = Duration::from_secs(1);

/// What is known of how connections to topics fare.
pub(crate) struct Watched {
    alerts: Mutex<Alerts>,
    every: Duration,
    pub(crate) started_at: UnixNanos,
    log: Arc<dyn EventLog>,
    /// When the log was asked last, and whether it answered.
    looked: tokio::sync::Mutex<Option<(UnixNanos, bool)>>,
}

impl Watched {
    pub(crate) fn new(config: AlertConfig, ports: &Ports) -> Self {
        let started_at = ports.clock.now();
        let start = Sample { at: started_at, log_answers: true, ..Sample::default() };
        Self {
            alerts: Mutex::new(Alerts::new(config, start)),
            every: config.every,
            started_at,
            log: Arc::clone(&ports.log),
            looked: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the log answers.
    pub(crate) async fn log_answers(&self, now: UnixNanos) -> bool {
        let mut looked = self.looked.lock().await;
        if let Some((at, answers)) = *looked
            && now.since(at) < LOG_LOOK_HOLDS
        {
            return answers;
        }
        let nobodys = Topic::Stream(StreamId::from_bytes([0; 8]));
        let answered = timeout(LOG_ANSWERS_WITHIN, self.log.head(&nobodys)).await;
        let answers = matches!(answered, Ok(Ok(_)));
        *looked = Some((now, answers));
        answers
    }

    /// The log, for whoever lists topics.
    pub(crate) fn log(&self) -> &dyn EventLog {
        &*self.log
    }

    /// How topics fare by this sample, how many events a second are delivered, and the alerts.
    pub(crate) fn fare(&self, sample: &Sample) -> (Fare, f64, Vec<Alert>) {
        let alerts = self.alerts.lock();
        let (fare, per_second) = alerts.fare(sample);
        (fare, per_second, alerts.all())
    }
}

/// Looks at the counters now and then, until `stop`.
pub(super) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut looks = interval(shared.watched.every);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let (at, figures) = (shared.clock.now(), &shared.hub.figures);
        let log_answers = shared.watched.log_answers(at).await;
        figures.note_log(log_answers);
        let sample = Sample { at, log_answers, queue: figures.take_peak(), ..figures.sample() };
        let changed = shared.watched.alerts.lock().look(sample);
        changed.iter().for_each(tell);
    }
}

fn tell(alert: &Alert) {
    let Alert { kind, details, message, .. } = alert;
    let (current, threshold) = (details.current_rate, details.threshold);
    if alert.resolved {
        info!(?kind, current, threshold, "an alert is resolved");
    } else {
        warn!(?kind, current, threshold, "{message}");
    }
}
