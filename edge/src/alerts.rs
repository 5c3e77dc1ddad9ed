//! Whether topics are served as they should be: alerts that are raised and resolved by themselves.
//!
//! Pure: counters come in with the times at which they were sampled. Rates are those of the last five minutes.

mod sample;
mod thresholds;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bond_core::time::UnixNanos;
use serde::Serialize;

pub use self::sample::{LATENCY_BOUNDS, LATENCY_BUCKETS, Sample};
use self::sample::{Span, rate};
pub use self::thresholds::Thresholds;

/// Over what time rates are taken, and for how long a resolved alert is shown.
pub const WINDOW: Duration = Duration::from_secs(300);

/// How often the counters are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The most samples that are kept: the window's, and the one before it.
const SAMPLES: usize = 64;

/// How topics are watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlertConfig {
    /// The bounds beyond which an alert is raised.
    pub thresholds: Thresholds,
    /// Over what time rates are taken.
    pub window: Duration,
    /// How often the counters are looked at.
    pub every: Duration,
}

impl Default for AlertConfig {
    fn default() -> Self {
        Self { thresholds: Thresholds::default(), window: WINDOW, every: LOOK_EVERY }
    }
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Too many handshakes fail.
    HighConnectionFailure,
    /// Too few handshakes succeed.
    LowConnectionSuccess,
    /// Slow clients miss too many events.
    HighMessageDropRate,
    /// Events take too long from append to delivery.
    HighLatency,
    /// A client lags too far behind.
    QueueOverflow,
    /// Too many messages of clients are answered with an error.
    HighErrorRate,
    /// The log does not answer.
    RedisConnectionIssue,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::HighConnectionFailure,
        Self::LowConnectionSuccess,
        Self::HighMessageDropRate,
        Self::HighLatency,
        Self::QueueOverflow,
        Self::HighErrorRate,
        Self::RedisConnectionIssue,
    ];

    const fn severity(self) -> &'static str {
        if matches!(self, Self::QueueOverflow) { "medium" } else { "high" }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::HighConnectionFailure => {
                "too many handshakes fail: look at websocket_connections_failed_total and the limits of connections"
            }
            Self::LowConnectionSuccess => "too few handshakes succeed: look at the limits of connections",
            Self::HighMessageDropRate => {
                "slow clients miss too many events: they should read faster, or ask for a lower rate"
            }
            Self::HighLatency => {
                "events take too long from append to delivery: look at the load of this process and of the log"
            }
            Self::QueueOverflow => "a client lags too far behind: it takes too little",
            Self::HighErrorRate => {
                "too many messages are answered with an error: websocket_errors_total says with which"
            }
            Self::RedisConnectionIssue => "the event log does not answer: look at Redis",
        }
    }
}

/// An alert that was raised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// What is wrong.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// `medium` or `high`.
    pub severity: &'static str,
    /// What is wrong, and where to look.
    pub message: &'static str,
    /// When it was raised, or once it is over, resolved.
    pub timestamp: String,
    /// The figures.
    pub details: AlertDetails,
    /// Whether it is over.
    pub resolved: bool,
    #[serde(skip)]
    resolved_at: Option<UnixNanos>,
}

/// The figures of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AlertDetails {
    /// What was found at the latest look.
    pub current_rate: f64,
    /// The bound.
    pub threshold: f64,
}

/// How the service fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fare {
    /// As it should.
    Healthy,
    /// Worse than it should.
    Degraded,
    /// Badly.
    Unhealthy,
}

/// What was sampled, and the alerts that it has come to.
#[derive(Debug)]
pub struct Alerts {
    config: AlertConfig,
    samples: VecDeque<Sample>,
    alerts: BTreeMap<AlertKind, Alert>,
}

impl Alerts {
    /// Nothing was sampled but the counters at the start.
    pub fn new(config: AlertConfig, start: Sample) -> Self {
        Self { config, samples: [start].into(), alerts: BTreeMap::new() }
    }

    /// Takes a sample. Returns the alerts that it raises, and those that it resolves.
    pub fn look(&mut self, sample: Sample) -> Vec<Alert> {
        let span = self.span(&sample);
        let found = AlertKind::ALL.map(|kind| (kind, self.judge(kind, &span)));
        let changed = found.into_iter().filter_map(|(kind, found)| self.note(kind, found, sample.at));
        let changed = changed.collect();
        self.keep(sample);
        changed
    }

    /// Those that were raised, also for a while after they were resolved.
    pub fn all(&self) -> Vec<Alert> {
        self.alerts.values().cloned().collect()
    }

    /// How the service fares, with `now` as the latest sample, and how many events a second it delivers.
    pub fn fare(&self, now: &Sample) -> (Fare, f64) {
        let span = self.span(now);
        let good = [span.failure_rate(), span.drop_rate()].map(|bad| 1.0 - bad);
        let fare = match good {
            [handshakes, events] if handshakes >= 0.95 && events >= 0.99 => Fare::Healthy,
            [handshakes, events] if handshakes >= 0.90 && events >= 0.95 => Fare::Degraded,
            _ => Fare::Unhealthy,
        };
        (fare, span.delivered_per_second())
    }

    /// What happened since the window began, or since the start.
    fn span(&self, now: &Sample) -> Span {
        let begins = now.at.minus(self.config.window);
        let before = self.samples.iter().rev().find(|sample| sample.at <= begins);
        let since = before.or(self.samples.front()).copied().unwrap_or_default();
        let within = self.samples.iter().filter(|sample| sample.at > begins);
        let queue = within.map(|sample| sample.queue).max().unwrap_or_default().max(now.queue);
        Span { since, now: *now, queue }
    }

    /// What is found of a kind, and its bound; and whether that is too bad.
    fn judge(&self, kind: AlertKind, span: &Span) -> (AlertDetails, bool) {
        let Thresholds {
            connection_failure_rate,
            message_drop_rate,
            latency_p95,
            queue_size,
            error_rate,
            connection_success_rate,
        } = self.config.thresholds;
        let (current_rate, threshold) = match kind {
            AlertKind::HighConnectionFailure => (span.failure_rate(), connection_failure_rate),
            AlertKind::LowConnectionSuccess => (1.0 - span.failure_rate(), connection_success_rate),
            AlertKind::HighMessageDropRate => (span.drop_rate(), message_drop_rate),
            AlertKind::HighLatency => (span.latency_p95(), latency_p95),
            AlertKind::QueueOverflow => (rate(span.queue, 1), queue_size),
            AlertKind::HighErrorRate => (span.error_rate(), error_rate),
            AlertKind::RedisConnectionIssue => (f64::from(u8::from(!span.now.log_answers)), 0.0),
        };
        let is_bad = match kind {
            AlertKind::LowConnectionSuccess => current_rate < threshold,
            _ => current_rate > threshold,
        };
        (AlertDetails { current_rate, threshold }, is_bad)
    }

    /// Raises an alert or resolves it, where that is new.
    fn note(
        &mut self,
        kind: AlertKind,
        (details, is_bad): (AlertDetails, bool),
        now: UnixNanos,
    ) -> Option<Alert> {
        let is_raised = self.alerts.get(&kind).is_some_and(|alert| !alert.resolved);
        if !is_bad && !is_raised {
            let is_old = |at: UnixNanos| now.since(at) >= self.config.window;
            self.alerts.retain(|of, alert| *of != kind || !alert.resolved_at.is_some_and(is_old));
            return None;
        }
        if is_bad && is_raised {
            self.alerts.entry(kind).and_modify(|alert| alert.details = details);
            return None;
        }
        let alert = Alert {
            kind,
            severity: kind.severity(),
            message: kind.message(),
            timestamp: now.to_string(),
            details,
            resolved: !is_bad,
            resolved_at: (!is_bad).then_some(now),
        };
        self.alerts.insert(kind, alert.clone());
        Some(alert)
    }

    /// Keeps a sample, and of those before the window one.
    fn keep(&mut self, sample: Sample) {
        let begins = sample.at.minus(self.config.window);
        self.samples.push_back(sample);
        while self.samples.get(1).is_some_and(|second| second.at <= begins) || self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
