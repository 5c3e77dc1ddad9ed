//! What is counted about connections to topics, and its text for Prometheus.
//!
//! A topic counts by its family: full names would be without bound. Workers count what they deliver for themselves ([`WorkerCounts`]), and
//! add it here once in a round of their loop.

mod counters;
mod worker_counts;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bond_core::code::Code;
use bond_core::topic::Family;

use self::counters::{Counters, Histogram, labelled, metric};
pub(crate) use self::worker_counts::WorkerCounts;
use crate::alerts::{LATENCY_BOUNDS, LATENCY_BUCKETS, Sample};

/// By what topics count: the families, and what concerns the connection alone.
const TOPICS: [&str; 6] = ["market", "auction", "trading", "risk", "mobile", "system"];

/// The last of [`TOPICS`].
const SYSTEM: usize = 5;

/// What is sent: events, and behind them what is answered.
const SENT: [&str; 7] = ["snapshot", "delta", "alert", "ack", "error", "pong", "heartbeat"];

/// How many of [`SENT`] are events.
const EVENTS: usize = 3;

/// The kinds of what is sent besides events, as places in [`SENT`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    Ack = 3,
    Error = 4,
    Pong = 5,
    Heartbeat = 6,
}

/// What clients say: the last stands for what cannot be read.
const RECEIVED: [&str; 8] =
    ["subscribe", "unsubscribe", "resume", "ping", "background_mode", "frequency", "refresh", "invalid"];

/// The bounds of the time that a message takes: up to one second.
const PROCESSING_BOUNDS: usize = LATENCY_BOUNDS.len() - 1;

/// How subscriptions change.
const CHANGES: [&str; 2] = ["subscribe", "unsubscribe"];

/// The counters of one process.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    established: AtomicU64,
    closed: AtomicU64,
    failed: AtomicU64,
    sent: Counters<{ TOPICS.len() }, { SENT.len() }>,
    received: Counters<{ TOPICS.len() }, { RECEIVED.len() }>,
    errors: Counters<{ TOPICS.len() }, { Code::ALL.len() }>,
    /// Those of the errors that answered no message.
    refused_connections: AtomicU64,
    violations: Counters<1, { TOPICS.len() }>,
    changes: Counters<{ TOPICS.len() }, { CHANGES.len() }>,
    dropped: AtomicU64,
    latency: [[Histogram; EVENTS]; SYSTEM],
    processing: [Histogram; RECEIVED.len()],
    /// Topics that somebody has subscribed to.
    topics: AtomicUsize,
    lags: Lags,
    log_is_away: AtomicBool,
}

/// How far clients lag behind.
#[derive(Debug)]
struct Lags {
    /// The most events, by worker, at its last look.
    now: [AtomicU64; MOST_WORKERS],
    /// The most since it was last asked for.
    peak: AtomicU64,
}

impl Default for Lags {
    fn default() -> Self {
        Self { now: std::array::from_fn(|_| AtomicU64::new(0)), peak: AtomicU64::new(0) }
    }
}

/// Rings note the workers that follow them in one word.
pub(crate) const MOST_WORKERS: usize = 64;

/// What health tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicTotals {
    pub(crate) established: u64,
    pub(crate) closed: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) topics: u64,
    pub(crate) subscriptions: u64,
    pub(crate) lag: u64,
}

/// The place of a family in [`TOPICS`].
const fn row(family: Option<Family>) -> usize {
    match family {
        Some(family) => family as usize,
        None => SYSTEM,
    }
}

impl Figures {
    /// A connection is there.
    pub(crate) fn establish(&self) {
        self.established.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has gone.
    pub(crate) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake has failed, through no fault of the client.
    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was said that is no event.
    pub(crate) fn tell(&self, told: Told) {
        self.tell_many(told, 1);
    }

    /// As [`Figures::tell`], so many times.
    pub(crate) fn tell_many(&self, told: Told, count: u64) {
        self.sent.add(SYSTEM, told as usize, count);
    }

    /// An error was told.
    pub(crate) fn refuse(&self, family: Option<Family>, code: Code) {
        self.tell(Told::Error);
        self.errors.add(row(family), code as usize, 1);
        if code == Code::RateLimitExceeded {
            self.violations.add(0, row(family), 1);
        }
    }

    /// An error was told that answers no message: a connection is refused, or ends.
    pub(crate) fn refuse_connection(&self, code: Code) {
        self.tell(Told::Error);
        self.errors.add(SYSTEM, code as usize, 1);
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was taken that a client has sent, in the time `took`. `name` is the message's; `None` where it could not be read.
    pub(crate) fn receive(&self, family: Option<Family>, name: Option<&str>, took: Duration) {
        let invalid = RECEIVED.len() - 1;
        let column = RECEIVED.iter().position(|known| Some(*known) == name).unwrap_or(invalid);
        self.received.add(row(family), column, 1);
        self.processing[column].record(took, &LATENCY_BOUNDS[..PROCESSING_BOUNDS]);
    }

    /// A topic of this family has one subscriber more. `is_first`: it had none.
    pub(super) fn subscribe(&self, family: Family, is_first: bool) {
        self.changes.add(row(Some(family)), 0, 1);
        self.topics.fetch_add(usize::from(is_first), Ordering::Relaxed);
    }

    /// A topic of this family has one subscriber less. `is_last`: it has none now.
    pub(super) fn unsubscribe(&self, family: Family, is_last: bool) {
        self.changes.add(row(Some(family)), 1, 1);
        self.topics.fetch_sub(usize::from(is_last), Ordering::Relaxed);
    }

    /// How many events the slowest client of a worker lags behind.
    pub(crate) fn lag(&self, worker: usize, events: u64) {
        if let Some(lag) = self.lags.now.get(worker) {
            lag.store(events, Ordering::Relaxed);
        }
        self.lags.peak.fetch_max(events, Ordering::Relaxed);
    }

    /// How far the slowest client has lagged behind since this was asked last.
    pub(crate) fn take_peak(&self) -> u64 {
        self.lags.peak.swap(0, Ordering::Relaxed)
    }

    /// The log was asked whether it answers.
    pub(crate) fn note_log(&self, answers: bool) {
        self.log_is_away.store(!answers, Ordering::Relaxed);
    }

    /// What health tells.
    pub(crate) fn totals(&self) -> TopicTotals {
        let all = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let closed = all(&self.closed);
        let gone = self.changes.column(1);
        TopicTotals {
            // Read later, so that there are never more that have gone than have come.
            established: all(&self.established).max(closed),
            closed,
            delivered: (0..EVENTS).map(|kind| self.sent.column(kind)).sum(),
            dropped: all(&self.dropped),
            topics: self.topics.load(Ordering::Relaxed) as u64,
            subscriptions: self.changes.column(0).saturating_sub(gone),
            lag: self.lags.now.iter().map(all).max().unwrap_or_default(),
        }
    }

    /// What alerts go by, but for the time, the lag and the log.
    pub(crate) fn sample(&self) -> Sample {
        let TopicTotals { established, delivered, dropped, .. } = self.totals();
        let mut latency = [0; LATENCY_BUCKETS];
        self.latency.iter().flatten().for_each(|histogram| histogram.add_to(&mut latency));
        let received = (0..RECEIVED.len()).map(|column| self.received.column(column)).sum();
        let refused = self.refused_connections.load(Ordering::Relaxed);
        let errors: u64 = (0..Code::ALL.len()).map(|column| self.errors.column(column)).sum();
        let errors = errors.saturating_sub(refused);
        let failed = self.failed.load(Ordering::Relaxed);
        Sample { established, failed, delivered, dropped, received, errors, latency, ..Sample::default() }
    }

    /// The text for Prometheus. `waiting`: rings with news that workers have not looked at yet.
    pub(crate) fn render(&self, waiting: u64, text: &mut String) {
        let totals = self.totals();
        self.render_connections(&totals, text);
        metric(text, "websocket_queue_size", "gauge", |out| {
            out("", r#"queue_type="message""#, totals.lag);
            out("", r#"queue_type="broadcast""#, waiting);
        });
        let available = u64::from(!self.log_is_away.load(Ordering::Relaxed));
        metric(text, "websocket_log_available", "gauge", |out| out("", "", available));
        metric(text, "websocket_subscriptions_total", "gauge", |out| {
            for (row, topic) in TOPICS.iter().enumerate().take(SYSTEM) {
                let [came, went] = [0, 1].map(|column| self.changes.get(row, column));
                out("", &labelled(&[("topic", topic)]), came.saturating_sub(went));
            }
        });
        self.sent.render(text, "websocket_messages_sent_total", ("topic", &TOPICS), ("type", &SENT));
        self.received.render(
            text,
            "websocket_messages_received_total",
            ("topic", &TOPICS),
            ("type", &RECEIVED),
        );
        metric(text, "websocket_messages_dropped_total", "counter", |out| {
            out("", r#"reason="slow_consumer""#, totals.dropped);
        });
        let codes = Code::ALL.map(Code::as_str);
        self.errors.render(text, "websocket_errors_total", ("topic", &TOPICS), ("type", &codes));
        self.violations.render(
            text,
            "websocket_rate_limit_violations_total",
            ("user_id", &["all"]),
            ("topic", &TOPICS),
        );
        self.changes.render(
            text,
            "websocket_subscription_changes_total",
            ("topic", &TOPICS[..SYSTEM]),
            ("operation", &CHANGES),
        );
        self.render_times(text);
    }

    fn render_connections(&self, totals: &TopicTotals, text: &mut String) {
        let TopicTotals { established, closed, .. } = *totals;
        let active = established - closed;
        metric(text, "websocket_connections_total", "gauge", |out| {
            out("", r#"status="total""#, active);
            out("", r#"status="established""#, established);
            out("", r#"status="closed""#, closed);
        });
        metric(text, "websocket_connections_active", "gauge", |out| out("", "", active));
        let failed = self.failed.load(Ordering::Relaxed);
        let counters = [("established", established), ("closed", closed), ("failed", failed)];
        for (name, count) in counters {
            let name = format!("websocket_connections_{name}_total");
            metric(text, &name, "counter", |out| out("", "", count));
        }
    }

    fn render_times(&self, text: &mut String) {
        metric(text, "websocket_message_latency_seconds", "histogram", |out| {
            for (of_topic, topic) in self.latency.iter().zip(TOPICS) {
                for (histogram, kind) in of_topic.iter().zip(SENT) {
                    histogram.render(&labelled(&[("topic", topic), ("type", kind)]), &LATENCY_BOUNDS, out);
                }
            }
        });
        metric(text, "websocket_processing_time_seconds", "histogram", |out| {
            for (histogram, operation) in self.processing.iter().zip(RECEIVED) {
                let labels = labelled(&[("operation", operation)]);
                histogram.render(&labels, &LATENCY_BOUNDS[..PROCESSING_BOUNDS], out);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use bond_core::log::EventKind;

    use super::*;
    use crate::delivery::follow::Tally;

    #[test]
    fn families_stand_where_the_table_has_them() {
        for family in Family::ALL {
            assert_eq!(TOPICS[row(Some(family))], family.name());
        }
        assert_eq!(TOPICS[row(None)], "system");
        assert_eq!(SENT[Told::Ack as usize..], ["ack", "error", "pong", "heartbeat"]);
        assert!(Code::ALL.iter().enumerate().all(|(index, code)| *code as usize == index));
    }

    #[test]
    fn what_is_counted_is_told_to_prometheus_and_to_alerts() {
        let figures = Figures::default();
        (0..3).for_each(|_| figures.establish());
        figures.close();
        figures.fail();
        let mut counts = WorkerCounts::default();
        counts.deliver(Family::Risk, EventKind::Alert, Some(Duration::from_millis(3)));
        counts.deliver(Family::Market, EventKind::Trade, Some(Duration::from_secs(9)));
        counts.deliver(Family::Market, EventKind::Delta, None);
        let missed = Tally { dropped: 7, acks: 1, ..Tally::default() };
        counts.look(Family::Market, &missed, &Tally::default());
        counts.flush(&figures);
        counts.flush(&figures);
        figures.refuse(Some(Family::Risk), Code::RateLimitExceeded);
        figures.refuse_connection(Code::AuthRequired);
        figures.receive(None, Some("ping"), Duration::from_millis(2));
        figures.receive(None, None, Duration::from_secs(2));
        figures.lag(1, 40);
        figures.lag(1, 30);
        let mut text = String::new();
        figures.render(5, &mut text);
        for line in [
            "# TYPE websocket_connections_total gauge",
            r#"websocket_connections_total{status="total"} 2"#,
            "websocket_connections_failed_total 1",
            "websocket_log_available 1",
            r#"websocket_queue_size{queue_type="message"} 30"#,
            r#"websocket_queue_size{queue_type="broadcast"} 5"#,
            r#"websocket_messages_sent_total{topic="risk",type="alert"} 1"#,
            r#"websocket_messages_sent_total{topic="system",type="ack"} 1"#,
            r#"websocket_messages_received_total{topic="system",type="invalid"} 1"#,
            r#"websocket_messages_dropped_total{reason="slow_consumer"} 7"#,
            r#"websocket_errors_total{topic="risk",type="RATE_LIMIT_EXCEEDED"} 1"#,
            r#"websocket_rate_limit_violations_total{user_id="all",topic="risk"} 1"#,
            "# TYPE websocket_message_latency_seconds histogram",
            r#"websocket_message_latency_seconds_bucket{topic="risk",type="alert",le="0.001"} 0"#,
            r#"websocket_message_latency_seconds_bucket{topic="risk",type="alert",le="0.005"} 1"#,
            r#"websocket_message_latency_seconds_bucket{topic="market",type="delta",le="5"} 0"#,
            r#"websocket_message_latency_seconds_bucket{topic="market",type="delta",le="+Inf"} 1"#,
            r#"websocket_message_latency_seconds_sum{topic="market",type="delta"} 9"#,
            r#"websocket_processing_time_seconds_bucket{operation="invalid",le="1"} 0"#,
            r#"websocket_processing_time_seconds_count{operation="invalid"} 1"#,
        ] {
            assert!(text.lines().any(|given| given == line), "{line} in {text}");
        }
        let sample = figures.sample();
        assert_eq!((sample.established, sample.failed, sample.delivered, sample.dropped), (3, 1, 3, 7));
        assert_eq!((sample.received, sample.errors, sample.latency[1], sample.latency[8]), (2, 1, 1, 1));
        assert_eq!([figures.take_peak(), figures.take_peak()], [40, 0]);
    }
}
