//! Alerts over counters with made-up times.

use super::*;

fn at(seconds: i64) -> UnixNanos {
    UnixNanos::from_secs(1_700_000_000 + seconds)
}

fn quiet(seconds: i64) -> Sample {
    Sample { at: at(seconds), log_answers: true, ..Sample::default() }
}

fn alerts() -> Alerts {
    Alerts::new(AlertConfig::default(), quiet(0))
}

/// The kinds of these alerts, and whether they are resolved.
fn told(alerts: &[Alert]) -> Vec<(AlertKind, bool)> {
    alerts.iter().map(|alert| (alert.kind, alert.resolved)).collect()
}

#[test]
fn a_drop_rate_of_two_percent_raises_an_alert_that_resolves_when_it_is_over() {
    let mut alerts = alerts();
    let mut sample = quiet(0);
    let mut look = |seconds, delivered, dropped| {
        sample = Sample { at: at(seconds), ..sample };
        (sample.delivered, sample.dropped) = (sample.delivered + delivered, sample.dropped + dropped);
        (told(&alerts.look(sample)), alerts.all())
    };
    assert_eq!(look(30, 1_000, 0).0, []);
    assert_eq!(look(60, 980, 20).0, [], "one per cent of the five minutes so far is not above it");
    assert_eq!(look(90, 980, 20).0, [(AlertKind::HighMessageDropRate, false)]);
    let (again, all) = look(120, 980, 20);
    assert_eq!(again, [], "told once");
    assert_eq!(all[0].details, AlertDetails { current_rate: 0.015, threshold: 0.01 });
    assert_eq!((all[0].severity, all[0].timestamp.as_str()), ("high", &*at(90).to_string()));
    assert_eq!(look(150, 1_000, 0).0, []);
    assert_eq!(look(180, 10_000, 0).0, [(AlertKind::HighMessageDropRate, true)]);
    let (_, all) = look(210, 1_000, 0);
    assert_eq!(told(&all), [(AlertKind::HighMessageDropRate, true)], "shown for a while");
    let (_, all) = look(480, 1_000, 0);
    assert_eq!(all, []);
}

#[test]
fn what_was_before_the_window_counts_no_more() {
    let mut alerts = alerts();
    let bad = Sample { delivered: 100, dropped: 100, ..quiet(30) };
    assert_eq!(told(&alerts.look(bad)), [(AlertKind::HighMessageDropRate, false)]);
    let mut resolved_at = None;
    for seconds in (60..=600).step_by(30) {
        let changes = alerts.look(Sample { at: at(seconds), ..bad });
        resolved_at = resolved_at.or((!changes.is_empty()).then_some(seconds));
    }
    assert_eq!(resolved_at, Some(330));
    assert!(alerts.samples.len() <= 12, "{}", alerts.samples.len());
}

#[test]
fn each_kind_is_raised_by_its_own_figure_alone() {
    let mut latency = [0; LATENCY_BUCKETS];
    (latency[0], latency[5]) = (90, 10);
    let good = Sample {
        established: 96,
        failed: 4,
        received: 100,
        errors: 2,
        delivered: 990,
        dropped: 10,
        ..quiet(30)
    };
    let good = Sample { queue: 1_000, ..good };
    assert_eq!(told(&alerts().look(good)), [], "at the bound is not above it");
    let failing = [(AlertKind::HighConnectionFailure, false), (AlertKind::LowConnectionSuccess, false)];
    assert_eq!(told(&alerts().look(Sample { failed: 6, established: 94, ..good })), failing);
    let cases = [
        (Sample { latency, ..good }, AlertKind::HighLatency),
        (Sample { queue: 1_001, ..good }, AlertKind::QueueOverflow),
        (Sample { errors: 3, ..good }, AlertKind::HighErrorRate),
        (Sample { log_answers: false, ..good }, AlertKind::RedisConnectionIssue),
        (Sample { dropped: 20, ..good }, AlertKind::HighMessageDropRate),
    ];
    for (sample, kind) in cases {
        let mut alerts = alerts();
        assert_eq!(told(&alerts.look(sample)), [(kind, false)]);
        let later = Sample { at: at(60), queue: 0, log_answers: true, ..sample };
        let much = Sample { delivered: 100_000, received: 100_000, ..later };
        let mut fast = much.latency;
        fast[0] += 100_000;
        alerts.look(Sample { latency: fast, ..much });
        let far = Sample { at: at(350), ..much };
        alerts.look(Sample { latency: fast, ..far });
        assert_eq!(told(&alerts.all()), [(kind, true)], "resolved by itself");
    }
}

#[test]
fn a_few_failures_of_few_raise_nothing() {
    let few = Sample { failed: 10, received: 19, errors: 19, dropped: 19, ..quiet(30) };
    assert_eq!(alerts().look(few), []);
}

#[test]
fn the_service_fares_by_its_handshakes_and_events() {
    let fare = |failed, dropped| {
        let sample =
            Sample { established: 100 - failed, failed, delivered: 100 - dropped, dropped, ..quiet(50) };
        alerts().fare(&sample).0
    };
    assert_eq!(fare(5, 1), Fare::Healthy);
    assert_eq!([fare(6, 0), fare(0, 2)], [Fare::Degraded; 2]);
    assert_eq!([fare(11, 0), fare(0, 6)], [Fare::Unhealthy; 2]);
    assert_eq!(alerts().fare(&Sample { delivered: 100, ..quiet(50) }).1, 2.0);
}

#[test]
fn an_alert_has_the_documented_shape() {
    let bad = Sample { log_answers: false, ..quiet(30) };
    let alert = serde_json::to_value(&alerts().look(bad)[0]).expect("json");
    let mut keys: Vec<_> = alert.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["details", "message", "resolved", "severity", "timestamp", "type"]);
    assert_eq!(alert["type"], "redis_connection_issue");
    assert_eq!(alert["details"], serde_json::json!({"current_rate": 1.0, "threshold": 0.0}));
}
