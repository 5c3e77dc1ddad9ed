//! What an edge answers and announces.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::MessageError;
use crate::code::Code;
use crate::log::Gap;
use crate::position::Epoch;
use crate::source::SourceStatus;
use crate::time::UnixNanos;

/// A message from an edge that is no event. A `status` is not among them: it comes encoded out of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    /// A client's message was taken.
    Ack {
        /// The `type` of that message.
        action: &'a str,
        /// Our time.
        #[serde(serialize_with = "rfc3339")]
        ts: UnixNanos,
        /// As the client sent it.
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<&'a RawValue>,
    },
    /// The answer to `ping`.
    Pong {
        /// Our time.
        #[serde(serialize_with = "rfc3339")]
        ts: UnixNanos,
        /// As the client sent it.
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<&'a RawValue>,
    },
    /// The connection lives; this is how the sources fare.
    Heartbeat {
        /// Always `system`.
        exchange: &'a str,
        /// Always empty.
        symbol: &'a str,
        /// Our time.
        #[serde(serialize_with = "rfc3339")]
        ts: UnixNanos,
        /// Our time in milliseconds.
        ts_event: i64,
        /// Always null: no venue sent it.
        ts_exchange: Option<i64>,
        /// The number of this heartbeat on its connection, from 1.
        seq_internal: u64,
        /// The state of every source by name.
        status: BTreeMap<SmolStr, &'static str>,
        /// The sources among them whose data are made up by a simulator.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        simulated: Vec<SmolStr>,
    },
    /// Numbers of a topic that cannot be delivered.
    Gap {
        /// Whose.
        topic: &'a str,
        /// The history that goes on.
        epoch: &'a str,
        /// The first missing number, where it has a meaning.
        from_seq: Option<u64>,
        /// The number before the next one delivered.
        to_seq: u64,
        /// Why.
        reason: &'static str,
    },
    /// A client's message, or something it depends on, failed.
    Error {
        /// The code to match on.
        #[serde(serialize_with = "code_text")]
        code: Code,
        /// What to fix.
        message: &'a str,
        /// Whether the same may succeed later.
        retryable: bool,
        /// As the client sent it.
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<&'a RawValue>,
    },
    /// The connection is about to be closed: connect again.
    Reconnect {
        /// How long to wait first, so that not all come at once.
        after_ms: u64,
        /// Why.
        reason: &'a str,
    },
}

impl<'a> ServerMessage<'a> {
    /// What is missing of `topic` in the history `epoch`.
    pub fn gap(topic: &'a str, epoch: &'a Epoch, gap: Gap) -> Self {
        Self::Gap {
            topic,
            epoch: epoch.as_str(),
            from_seq: gap.from_seq,
            to_seq: gap.to_seq,
            reason: gap.reason.as_str(),
        }
    }

    /// What was wrong with a client's message.
    pub fn error(error: &'a MessageError, correlation_id: Option<&'a RawValue>) -> Self {
        let MessageError { code, message } = error;
        Self::Error { code: *code, message, retryable: code.is_retryable(), correlation_id }
    }

    /// The heartbeat number `seq_internal` of a connection at time `ts`.
    pub fn heartbeat(seq_internal: u64, ts: UnixNanos, sources: &BTreeMap<SmolStr, SourceStatus>) -> Self {
        let ts_event = ts.as_millis();
        let status = sources.iter().map(|(name, status)| (name.clone(), status.state.as_str())).collect();
        let simulated = sources.iter().filter(|(_, status)| status.simulated).map(|(name, _)| name.clone());
        Self::Heartbeat {
            exchange: "system",
            symbol: "",
            ts,
            ts_event,
            ts_exchange: None,
            seq_internal,
            status,
            simulated: simulated.collect(),
        }
    }
}

/// The message as JSON text.
pub fn to_json(message: &ServerMessage<'_>) -> Vec<u8> {
    serde_json::to_vec(message).expect("a message has string keys only")
}

fn rfc3339<S: Serializer>(time: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn code_text<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::GapReason;
    use crate::source::SourceState;

    fn text(message: &ServerMessage<'_>) -> String {
        String::from_utf8(to_json(message)).expect("text")
    }

    #[test]
    fn a_gap_names_its_bounds() {
        let epoch = Epoch::new("e2").expect("epoch");
        let gap = Gap { from_seq: None, to_seq: 0, reason: GapReason::EpochChanged };
        assert_eq!(
            text(&ServerMessage::gap("trades.okx.BTC-USDT", &epoch, gap)),
            r#"{"type":"gap","topic":"trades.okx.BTC-USDT","epoch":"e2","from_seq":null,"to_seq":0,"reason":"epoch_changed"}"#
        );
    }

    #[test]
    fn an_answer_echoes_the_correlation_id_as_it_was_sent() {
        let id = RawValue::from_string("{\"n\": 1}".into()).expect("json");
        let pong = ServerMessage::Pong { ts: UnixNanos::EPOCH, correlation_id: Some(&id) };
        assert_eq!(
            text(&pong),
            r#"{"type":"pong","ts":"1970-01-01T00:00:00.000Z","correlation_id":{"n": 1}}"#
        );
        let error = MessageError::new(Code::InvalidTopic, "unknown channel: candles");
        assert_eq!(
            text(&ServerMessage::error(&error, None)),
            r#"{"type":"error","code":"INVALID_TOPIC","message":"unknown channel: candles","retryable":false}"#
        );
    }

    #[test]
    fn a_heartbeat_has_the_common_fields_of_flat_events() {
        let (state, since) = (SourceState::Connected, UnixNanos::EPOCH);
        let sources = BTreeMap::from([("okx".into(), SourceStatus { state, since, simulated: true })]);
        assert_eq!(
            text(&ServerMessage::heartbeat(1, UnixNanos::from_millis(7), &sources)),
            concat!(
                r#"{"type":"heartbeat","exchange":"system","symbol":"","ts":"1970-01-01T00:00:00.007Z","ts_event":7,"#,
                r#""ts_exchange":null,"seq_internal":1,"status":{"okx":"connected"},"simulated":["okx"]}"#
            )
        );
    }
}
