//! What a connection that follows topics is told: everything in one envelope, `type`, `topic`, `epoch`, `seq`, `ts`, `payload`, `meta` and
//! `correlation_id` first, and then what the kind of message adds.

use std::fmt::Write as _;
use std::time::Duration;

use crate::code::Code;
use crate::connection::TopicRefusal;
use crate::log::Gap;
use crate::position::Epoch;
use crate::time::UnixNanos;
use crate::topic::Family;

/// The topic of what concerns the whole connection.
pub const SYSTEM: &str = "system";

/// The window that sustained limits are told for, in seconds.
const LIMIT_WINDOW: u32 = 60;

/// What a message is about, and where the reader stands: the next event of the topic is `seq` + 1.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Its epoch; `None` for a topic without history.
    pub epoch: Option<&'a Epoch>,
    /// The number of the last event before it.
    pub seq: u64,
}

impl Place<'_> {
    /// Of what concerns the whole connection.
    pub const CONNECTION: Self = Self { topic: SYSTEM, epoch: None, seq: 0 };
}

/// What an `ack` of a subscription adds.
#[derive(Clone, Copy, Debug)]
pub struct AckFields<'a> {
    /// The `type` of the message that was taken.
    pub action: &'a str,
    /// The number of the topic's newest event.
    pub head: u64,
    /// Whether frames are compressed.
    pub is_compressed: bool,
}

fn text(value: &str) -> String {
    serde_json::to_string(value).expect("a text is JSON")
}

/// Begins a message, up to and with `correlation_id`, which is a JSON text.
fn open(
    kind: &str,
    place: Place<'_>,
    ts: impl std::fmt::Display,
    payload: &str,
    meta: &str,
    correlation_id: Option<&str>,
) -> String {
    let epoch = place.epoch.map_or_else(|| "null".to_owned(), |epoch| format!("\"{epoch}\""));
    format!(
        r#"{{"type":"{kind}","topic":{},"epoch":{epoch},"seq":{},"ts":"{ts}","payload":{payload},"meta":{meta},"correlation_id":{}"#,
        text(place.topic),
        place.seq,
        correlation_id.unwrap_or("null"),
    )
}

fn close(mut message: String) -> Vec<u8> {
    message.push('}');
    message.into_bytes()
}

fn control(kind: &str, place: Place<'_>, ts: UnixNanos, correlation_id: Option<&str>) -> String {
    open(kind, place, ts, "null", "{}", correlation_id)
}

/// The answer to a message that was taken.
pub fn ack(place: Place<'_>, fields: AckFields<'_>, ts: UnixNanos, correlation_id: Option<&str>) -> Vec<u8> {
    let AckFields { action, head, is_compressed } = fields;
    let family = Family::of(place.topic);
    let done = match action {
        "subscribe" => "Subscription successful",
        "unsubscribe" => "Unsubscription successful",
        _ => "Done",
    };
    let mut message = control("ack", place, ts, correlation_id);
    let _ = write!(
        message,
        r#","action":{},"success":true,"sequence_number":{head},"message":"{done}","compression_enabled":{is_compressed},"rate_limits":{{"burst":{},"sustained":{},"window":{LIMIT_WINDOW}}}"#,
        text(action),
        family.burst(),
        family.sustained(),
    );
    close(message)
}

/// The answer to `ping`.
pub fn pong(ts: UnixNanos, correlation_id: Option<&str>) -> Vec<u8> {
    let mut message = control("pong", Place::CONNECTION, ts, correlation_id);
    let _ = write!(message, r#","timestamp":"{ts}""#);
    close(message)
}

/// That the connection lives.
pub fn heartbeat(ts: UnixNanos) -> Vec<u8> {
    let payload = format!(r#"{{"timestamp":"{ts}"}}"#);
    close(open("heartbeat", Place::CONNECTION, ts, &payload, "{}", None))
}

/// That the connection is about to be closed: connect again.
pub fn reconnect(reason: &str, after_ms: u64, ts: UnixNanos) -> Vec<u8> {
    let mut message = control("reconnect", Place::CONNECTION, ts, None);
    let _ = write!(message, r#","after_ms":{after_ms},"reason":{}"#, text(reason));
    close(message)
}

/// Numbers of a topic that cannot be delivered. `epoch` is the history that goes on, if there is any.
pub fn gap(topic: &str, epoch: Option<&Epoch>, gap: Gap, ts: UnixNanos) -> Vec<u8> {
    let mut message = control("gap", Place { topic, epoch, seq: gap.to_seq }, ts, None);
    let from = gap.from_seq.map_or_else(|| "null".to_owned(), |seq| seq.to_string());
    let _ =
        write!(message, r#","from_seq":{from},"to_seq":{},"reason":"{}""#, gap.to_seq, gap.reason.as_str());
    close(message)
}

/// How something fares: `fields` are JSON members without braces.
pub fn status(place: Place<'_>, fields: &str, ts: UnixNanos) -> Vec<u8> {
    let mut message = control("status", place, ts, None);
    let _ = write!(message, r#","after_seq":{},{fields}"#, place.seq);
    close(message)
}

/// A topic's state after event `place.seq`, which a joiner is given in the place of the events before.
pub fn snapshot(place: Place<'_>, ts: UnixNanos, state: &str) -> Vec<u8> {
    close(open("snapshot", place, ts, state, r#"{"synthetic":true}"#, None))
}

/// An event of another kind of topic: its own fields become the payload. `ts` is as [`UnixNanos`] is written.
pub fn event(place: Place<'_>, kind: &str, ts: &str, fields: &str, of: &str) -> Vec<u8> {
    close(open(kind, place, ts, &format!("{{{fields}}}"), &format!(r#"{{"kind":"{of}"}}"#), None))
}

/// What was wrong with a client's message, or with its connection. `reason` is the true reason where the code is kept for old clients.
pub fn error(
    refusal: &TopicRefusal,
    reason: Option<Code>,
    ts: UnixNanos,
    correlation_id: Option<&str>,
) -> Vec<u8> {
    let TopicRefusal { error, topic, limit } = refusal;
    let mut message = control("error", Place::CONNECTION, ts, correlation_id);
    let _ = write!(
        message,
        r#","error":"{}","code":"{}","message":{},"details":{},"timestamp":"{ts}","retryable":{}"#,
        title(error.code),
        error.code,
        text(&error.message),
        details(topic.as_deref(), *limit, reason),
        error.code.is_retryable(),
    );
    close(message)
}

fn details(topic: Option<&str>, limit: Option<(Family, Duration)>, reason: Option<Code>) -> String {
    let topic = topic.map(|topic| format!(r#""topic":{}"#, text(topic)));
    let limit = limit.map(|(family, wait)| {
        let wait = wait.as_millis().max(1);
        format!(r#""limit":"{} per minute","retry_after_ms":{wait}"#, family.sustained())
    });
    let reason = reason.map(|reason| format!(r#""reason":"{reason}""#));
    let members: Vec<String> = [topic, limit, reason].into_iter().flatten().collect();
    format!("{{{}}}", members.join(","))
}

/// The words that old clients know.
const fn title(code: Code) -> &'static str {
    match code {
        Code::AuthRequired | Code::AuthInvalid | Code::AuthExpired => "Authentication required",
        Code::RateLimitExceeded => "Rate limit exceeded",
        Code::InternalError => "Internal server error",
        Code::ConnectionError | Code::SlowConsumer => "Connection error",
        Code::Forbidden => "Forbidden",
        Code::NotFound => "Not found",
        Code::InvalidMessage | Code::InvalidTopic | Code::TooLarge => "Invalid message",
        Code::Conflict => "Conflict",
        Code::LimitExceeded => "Limit exceeded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::GapReason;
    use crate::message::MessageError;

    const TS: UnixNanos = UnixNanos::from_millis(1_795_867_200_123);

    fn told(bytes: Vec<u8>) -> String {
        let text = String::from_utf8(bytes).expect("text");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for member in ["type", "topic", "epoch", "seq", "ts", "payload", "meta", "correlation_id"] {
            assert!(value.get(member).is_some(), "{member} in {text}");
        }
        text
    }

    #[test]
    fn each_message_has_the_envelope_and_what_old_clients_read() {
        let epoch = Epoch::new("19c2f4x1").expect("epoch");
        let place = Place { topic: "prices.X", epoch: Some(&epoch), seq: 812 };
        let fields = AckFields { action: "subscribe", head: 812, is_compressed: false };
        assert_eq!(
            told(ack(place, fields, TS, Some("\"c1\""))),
            r#"{"type":"ack","topic":"prices.X","epoch":"19c2f4x1","seq":812,"ts":"2026-11-28T12:00:00.123Z","payload":null,"meta":{},"correlation_id":"c1","action":"subscribe","success":true,"sequence_number":812,"message":"Subscription successful","compression_enabled":false,"rate_limits":{"burst":1000,"sustained":100,"window":60}}"#
        );
        assert_eq!(
            told(pong(TS, None)),
            r#"{"type":"pong","topic":"system","epoch":null,"seq":0,"ts":"2026-11-28T12:00:00.123Z","payload":null,"meta":{},"correlation_id":null,"timestamp":"2026-11-28T12:00:00.123Z"}"#
        );
        let missed = Gap { from_seq: Some(61), to_seq: 90, reason: GapReason::SlowConsumer };
        assert!(told(gap("risk.u1", Some(&epoch), missed, TS)).ends_with(
            r#""seq":90,"ts":"2026-11-28T12:00:00.123Z","payload":null,"meta":{},"correlation_id":null,"from_seq":61,"to_seq":90,"reason":"slow_consumer"}"#
        ));
        assert!(
            told(snapshot(place, TS, r#"{"bid":99.40}"#))
                .contains(r#""payload":{"bid":99.40},"meta":{"synthetic":true}"#)
        );
        told(heartbeat(TS));
        told(reconnect("shutdown", 100, TS));
        told(status(place, r#""state":"ended""#, TS));
        told(event(place, "delta", &TS.to_string(), r#""price":1"#, "trade"));
    }

    #[test]
    fn an_error_has_the_old_words_the_code_and_what_to_fix() {
        let refusal = TopicRefusal {
            error: MessageError::new(Code::RateLimitExceeded, "market: 100 a minute"),
            topic: Some("prices.X".into()),
            limit: Some((Family::Market, Duration::from_millis(600))),
        };
        assert!(told(error(&refusal, None, TS, None)).ends_with(
            r#""error":"Rate limit exceeded","code":"RATE_LIMIT_EXCEEDED","message":"market: 100 a minute","details":{"topic":"prices.X","limit":"100 per minute","retry_after_ms":600},"timestamp":"2026-11-28T12:00:00.123Z","retryable":true}"#
        ));
        let expired =
            TopicRefusal::from(MessageError::new(Code::AuthRequired, "connect again with a newer token"));
        assert!(
            told(error(&expired, Some(Code::AuthExpired), TS, None))
                .contains(r#""error":"Authentication required","code":"AUTH_REQUIRED","#)
        );
    }
}
