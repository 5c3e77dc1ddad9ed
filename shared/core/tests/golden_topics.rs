//! The messages of connections that follow topics by name, byte for byte. `docs/protocol.md` shows them, and SDKs read the same files.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_core::code::Code;
use bond_core::connection::TopicRefusal;
use bond_core::log::{Gap, GapReason};
use bond_core::message::envelope::{self, AckFields, Place};
use bond_core::message::{ClientMessage, MessageError, Request, Subscribe, TopicForm, Unsubscribe};
use bond_core::position::Epoch;
use bond_core::publish::{PublishBatch, PublishEvent};
use bond_core::time::UnixNanos;
use bond_core::topic::Family;
use bond_core::wire;
use serde_json::value::RawValue;

const SERVER: &str = include_str!("golden/topic_messages.json");
const CLIENT: &str = include_str!("golden/topic_client_messages.json");

const NOW: UnixNanos = UnixNanos::from_millis(1_795_867_200_123);
const TOPIC: &str = "prices.IN1234567890";

fn golden(text: &str, name: &str) -> String {
    let golden: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).expect("golden messages");
    golden.get(name).map(|message| message.get().to_owned()).unwrap_or_default()
}

#[track_caller]
fn assert_server(name: &str, text: Vec<u8>) {
    assert_eq!(String::from_utf8(text).expect("UTF-8"), golden(SERVER, name), "{name}");
}

#[track_caller]
fn assert_client(name: &str, message: &ClientMessage) {
    assert_eq!(Request::parse(&golden(CLIENT, name)).message.as_ref(), Ok(message), "{name}");
}

fn epoch() -> Epoch {
    Epoch::new("18f5a1x0").expect("epoch")
}

/// The frame of what a publisher said.
fn published(topic: &str, seq: u64, event: Result<PublishEvent, MessageError>) -> Vec<u8> {
    let batch = PublishBatch::of(vec![event.expect("an event")], None).expect("a batch");
    let record = &batch.records(NOW)[0];
    wire::frame(topic, &epoch(), seq, record.ts, record.kind, &record.body)
}

#[test]
fn what_is_published_has_the_envelope() {
    let delta =
        PublishEvent::new("delta", r#"{"bid": 99.50}"#, Some(r#"{"subtopic": "L1"}"#), Some("\"o-17\""));
    assert_server("topic_delta", published(TOPIC, 812, delta));
    let payload = r#"{"level":"warning","message":"exposure is at 93 % of its limit"}"#;
    let alert = PublishEvent::new("alert", payload, None, None);
    assert_server("topic_alert", published("risk.u1.alerts", 7, alert));
}

#[test]
fn a_client_is_told_states_and_answered() {
    let epoch = epoch();
    let place = |seq| Place { topic: TOPIC, epoch: Some(&epoch), seq };
    assert_server("topic_snapshot", envelope::snapshot(place(811), NOW, r#"{"bid":99.40,"ask":100.50}"#));
    let trade = r#""exchange":"okx","symbol":"BTC/USDT","ts_event":1732186800125,"ts_exchange":1732186800100,"price":61837.63,"size":0.02,"side":"sell","trade_id":"3735683259""#;
    let of_venue = Place { topic: "trades.okx.BTC-USDT", epoch: Some(&epoch), seq: 42 };
    assert_server("topic_event", envelope::event(of_venue, "delta", &NOW.to_string(), trade, "trade"));
    let fields = AckFields { action: "subscribe", head: 812, is_compressed: false };
    assert_server("topic_ack", envelope::ack(place(812), fields, NOW, Some("\"c1\"")));
    assert_server("topic_pong", envelope::pong(NOW, None));
    let refusal = TopicRefusal {
        error: MessageError::new(
            Code::RateLimitExceeded,
            "market: 100 subscriptions a minute after a burst of 1000",
        ),
        topic: Some(TOPIC.into()),
        limit: Some((Family::Market, Duration::from_millis(600))),
    };
    assert_server("topic_error", envelope::error(&refusal, None, NOW, Some("\"c1\"")));
}

#[test]
fn a_client_is_told_how_things_are() {
    let epoch = epoch();
    let missed = Gap { from_seq: Some(61), to_seq: 90, reason: GapReason::SlowConsumer };
    assert_server("topic_gap", envelope::gap("risk.u1", Some(&epoch), missed, NOW));
    let place = Place { topic: TOPIC, epoch: Some(&epoch), seq: 812 };
    assert_server("topic_status", envelope::status(place, r#""state":"ended""#, NOW));
    assert_server("topic_heartbeat", envelope::heartbeat(NOW));
    assert_server("topic_reconnect", envelope::reconnect("token_expires", 0, NOW));
}

#[test]
fn what_clients_say_is_understood() {
    let subscribe = |form, batch_size| {
        let message = Subscribe { topic: Some(form), batch_size, ..Subscribe::default() };
        ClientMessage::Subscribe(Box::new(message))
    };
    let one = TopicForm { topics: vec![TOPIC.to_owned()], ..TopicForm::default() };
    assert_client("topic_subscribe", &subscribe(one.clone(), None));
    let all = TopicForm {
        resume_from_seq: Some(812),
        epoch: Some(epoch()),
        subtopics: ["L1", "L2", "trades"].map(Into::into).into(),
        compression: Some(true),
        ..one
    };
    assert_client("topic_subscribe_all_fields", &subscribe(all, Some(100)));
    let many = TopicForm {
        topics: vec![TOPIC.to_owned(), "risk.u1.alerts".to_owned()],
        rewind: Some(20),
        ..TopicForm::default()
    };
    assert_client("topic_subscribe_many", &subscribe(many, None));
    let topic = Some(TOPIC.to_owned());
    assert_client("topic_unsubscribe", &ClientMessage::Unsubscribe(Unsubscribe { topic }));
}
