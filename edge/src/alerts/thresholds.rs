//! The bounds beyond which an alert is raised.

use serde_json::{Map, Value};

/// The name of the setting.
const NAME: &str = "ALERT_THRESHOLDS_JSON";

/// The bounds. Each field names the key of `ALERT_THRESHOLDS_JSON` that it is read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// `max_connection_failure_rate`: the share of handshakes that failed.
    pub connection_failure_rate: f64,
    /// `max_message_drop_rate`: the share of events that slow clients missed.
    pub message_drop_rate: f64,
    /// `max_latency_p95`: the 95th percentile of the time from append to delivery, in seconds.
    pub latency_p95: f64,
    /// `max_queue_size`: how many events a client lags behind.
    pub queue_size: f64,
    /// `max_error_rate`: the share of clients' messages that were answered with an error.
    pub error_rate: f64,
    /// `min_connection_success_rate`: the share of handshakes that succeeded.
    pub connection_success_rate: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            connection_failure_rate: 0.05,
            message_drop_rate: 0.01,
            latency_p95: 0.1,
            queue_size: 1000.0,
            error_rate: 0.02,
            connection_success_rate: 0.95,
        }
    }
}

impl Thresholds {
    /// Reads the setting. What it does not name stays at its default.
    ///
    /// # Errors
    /// Every problem, one sentence each.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) else {
            return Err(vec![format!("{NAME} must be a JSON object such as {{\"max_error_rate\":0.02}}")]);
        };
        let (mut thresholds, mut problems) = (Self::default(), Vec::new());
        for (key, value) in &object {
            if let Err(problem) = thresholds.set(key, value) {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(thresholds) } else { Err(problems) }
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let (field, most) = match key {
            "max_connection_failure_rate" => (&mut self.connection_failure_rate, 1.0),
            "max_message_drop_rate" => (&mut self.message_drop_rate, 1.0),
            "max_latency_p95" => (&mut self.latency_p95, 60.0),
            "max_queue_size" => (&mut self.queue_size, 1e6),
            "max_error_rate" => (&mut self.error_rate, 1.0),
            "min_connection_success_rate" => (&mut self.connection_success_rate, 1.0),
            _ => return Err(format!("{NAME} has a key that is not known: {key}")),
        };
        match value.as_f64().filter(|number| (0.0..=most).contains(number)) {
            Some(number) => *field = number,
            None => return Err(format!("{NAME}: {key} must be a number from 0 to {most}: {value}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_replaces_a_default_and_everything_wrong_is_told() {
        let read = Thresholds::parse(r#"{"max_queue_size":50,"max_error_rate":0.5}"#).expect("thresholds");
        assert_eq!(read, Thresholds { queue_size: 50.0, error_rate: 0.5, ..Thresholds::default() });
        assert_eq!(Thresholds::parse("{}"), Ok(Thresholds::default()));
        let wrong = r#"{"max_error_rate":1.5,"max_latency_p95":"fast","max_errors":1}"#;
        let problems = Thresholds::parse(wrong).expect_err("three problems");
        assert_eq!(problems.len(), 3, "{problems:?}");
        for text in ["[]", "max_error_rate=1", "{"] {
            assert_eq!(Thresholds::parse(text).expect_err(text).len(), 1, "{text}");
        }
    }
}
