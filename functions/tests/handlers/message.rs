//! `$default`.

use std::sync::Arc;

use bond_core::connection::{Carries, Connection, ConnectionId, NOTES};
use bond_core::control::Command;
use bond_core::position::Start;
use bond_core::time::UnixNanos;
use bond_functions::message::Messages;
use bond_functions::secrets::Vault;
use serde_json::{Value, json};

use super::support::*;

/// When the recorded message was made.
const SAID: UnixNanos = UnixNanos::from_millis(1_700_000_020_500);

struct Host {
    messages: Messages,
    connections: Arc<Connections>,
    told: Arc<Told>,
    source: Source,
}

impl Host {
    fn new(connection: Connection) -> Self {
        let (connections, told) = (Arc::new(Connections::default()), Arc::new(Told::default()));
        connections.kept.lock().insert(connection.id.clone(), connection);
        let source = Source::new();
        let messages = Messages {
            connections: connections.clone(),
            control: told.clone(),
            users: Arc::<Users>::default(),
            vault: Vault::new(Box::new(source.clone())),
            clock: clock(),
            emf: emf("ws_message").0,
        };
        Self { messages, connections, told, source }
    }

    fn stream() -> Self {
        Self::new(opened(Carries::Stream { id: stream(), start: Start::At(CONNECTED) }))
    }

    fn feed() -> Self {
        Self::new(opened(Carries::Feed(Box::default())))
    }

    /// What the client is answered at once.
    async fn say(&self, text: &str) -> Option<Value> {
        self.say_at(text, SAID).await
    }

    async fn say_at(&self, text: &str, at: UnixNanos) -> Option<Value> {
        let event = event(include_str!("../fixtures/message.json"), |event| {
            event["body"] = json!(text);
            event["requestContext"]["requestTimeEpoch"] = json!(at.as_millis());
        });
        let answer = self.messages.handle(event).await.expect("an event of a WebSocket route");
        assert_eq!(answer.status_code, 200);
        answer.body.map(|body| serde_json::from_str(&body).expect("json"))
    }

    fn notes(&self) -> Vec<Value> {
        let connection = self.connections.the_one();
        connection.notes.iter().map(|note| serde_json::from_str(note).expect("json")).collect()
    }
}

fn opened(carries: Carries) -> Connection {
    Connection::opened(ConnectionId::new(CONNECTION), CONNECTED, carries)
}

fn takes(connection: &Connection, topic: &str) -> bool {
    connection.filter().is_some_and(|filter| filter.matches(&topic.parse().expect("a topic")))
}

#[tokio::test]
async fn a_ping_is_answered_and_changes_nothing() {
    let host = Host::stream();
    let pong = host.say(r#"{"type":"ping","correlation_id":7}"#).await.expect("an answer");
    assert_eq!((&pong["type"], &pong["correlation_id"]), (&json!("pong"), &json!(7)));
    assert!(!host.connections.the_one().control);
    assert_eq!(host.told.take().len(), 0);
}

#[tokio::test]
async fn a_subscription_is_kept_acknowledged_and_told() {
    let host = Host::feed();
    let text = r#"{"type":"subscribe","channels":["trades"],"symbols":["BTC/USDT"],"correlation_id":"a"}"#;
    let ack = host.say(text).await.expect("an answer");
    assert_eq!((&ack["type"], &ack["action"]), (&json!("ack"), &json!("subscribe")));
    let kept = host.connections.the_one();
    assert!(takes(&kept, "trades.okx.BTC-USDT") && !takes(&kept, "ticker.okx.BTC-USDT"));
    assert_eq!((kept.asked_at, kept.placed_at), (SAID, SAID));
    assert_eq!(host.told.take(), [Command::Connected(Box::new(kept))]);
}

#[tokio::test]
async fn a_feed_without_control_and_correlation_id_gets_no_ack() {
    let host = Host::feed();
    assert_eq!(host.say(r#"{"type":"subscribe","channels":["trades"]}"#).await, None);
    assert!(takes(&host.connections.the_one(), "trades.okx.BTC-USDT"));
}

#[tokio::test]
async fn what_does_not_fit_the_one_answer_is_left_to_the_relay() {
    let host = Host::feed();
    let text = r#"{"type":"subscribe","channels":["trades","candles"],"exchanges":["okx","mtgox"],"correlation_id":1}"#;
    let first = host.say(text).await.expect("an answer");
    assert_eq!(first["code"], "INVALID_TOPIC");
    let kinds: Vec<_> = host.notes().iter().map(|note| note["type"].clone()).collect();
    assert_eq!(kinds, ["error", "ack"]);
    assert!(host.notes().iter().all(|note| note["correlation_id"] == 1));
    assert!(takes(&host.connections.the_one(), "trades.okx.BTC-USDT"), "the rest is served");
    host.say(r#"{"type":"background_mode","enabled":true}"#).await;
    assert_eq!(host.notes().len(), 0, "they belong to the version that they came with");
}

#[tokio::test]
async fn however_many_names_are_unknown_the_answers_are_few() {
    let host = Host::feed();
    let names: Vec<String> = (0..500).map(|n| format!("no such {n}")).collect();
    let text = json!({"type": "subscribe", "channels": names, "correlation_id": 1}).to_string();
    assert!(text.len() < 32 * 1024);
    host.say(&text).await.expect("an answer");
    let notes = host.notes();
    assert_eq!(notes.len(), NOTES);
    assert_eq!(notes[NOTES - 1]["type"], "ack");
    let last = notes[NOTES - 2]["message"].as_str().expect("a message");
    assert!(last.starts_with("492 more"), "{last}");
}

#[tokio::test]
async fn of_two_messages_at_the_same_time_neither_is_lost() {
    let host = Host::feed();
    let mut other = host.connections.the_one();
    other.renew(SAID);
    other.control = true;
    host.connections.meanwhile.lock().push(other);
    host.say(r#"{"type":"subscribe","channels":["trades"]}"#).await.expect("control is on meanwhile");
    let kept = host.connections.the_one();
    assert!(kept.control && takes(&kept, "trades.okx.BTC-USDT"));
    assert!(kept.asked_at > SAID, "a version of its own");
}

#[tokio::test]
async fn a_crowd_of_messages_is_told_to_come_again() {
    let host = Host::feed();
    let crowd = (1..=5).map(|n| {
        let mut other = host.connections.the_one();
        other.asked_at = SAID.plus(std::time::Duration::from_millis(n));
        other
    });
    host.connections.meanwhile.lock().extend(crowd);
    let error = host.say(r#"{"type":"unsubscribe"}"#).await.expect("an answer");
    assert_eq!((&error["code"], &error["retryable"]), (&json!("CONNECTION_ERROR"), &json!(true)));
}

#[tokio::test]
async fn a_resume_moves_the_start_of_the_stream() {
    let host = Host::stream();
    let text = json!({"type": "resume", "topic": format!("streams.{STREAM}"), "epoch": "e", "seq": 9});
    let ack = host.say(&text.to_string()).await.expect("a message but ping turns control on");
    assert_eq!(ack["type"], "ack");
    let kept = host.connections.the_one();
    assert!(
        matches!(&kept.carries, Carries::Stream { start: Start::After(position), .. } if position.seq == 9)
    );
    let refused = host.say(r#"{"type":"subscribe","channels":["trades"]}"#).await.expect("an answer");
    assert_eq!(refused["code"], "INVALID_MESSAGE");
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_and_turns_control_on() {
    let host = Host::stream();
    let error = host.say(r#"{"type":"sing","correlation_id":3}"#).await.expect("an answer");
    assert_eq!((&error["code"], &error["correlation_id"]), (&json!("INVALID_MESSAGE"), &json!(3)));
    assert!(host.connections.the_one().control);
    assert_eq!(host.told.take().len(), 1, "the relay knows that control is on");
    host.say("{").await.expect("an answer");
    assert_eq!(host.told.take().len(), 0, "nothing new for the relay");
    let binary =
        event(include_str!("../fixtures/message.json"), |event| event["isBase64Encoded"] = json!(true));
    let answer = host.messages.handle(binary).await.expect("an event");
    assert!(answer.body.expect("an answer").contains("text messages only"));
}

#[tokio::test]
async fn a_connection_that_nobody_knows_is_told_to_connect_again() {
    let host = Host::feed();
    host.connections.kept.lock().clear();
    let error = host.say(r#"{"type":"subscribe","correlation_id":"x"}"#).await.expect("an answer");
    assert_eq!((&error["code"], &error["correlation_id"]), (&json!("CONNECTION_ERROR"), &json!("x")));
    *host.connections.unavailable.lock() = true;
    let error = host.say(r#"{"type":"subscribe"}"#).await.expect("an answer");
    assert_eq!(error["code"], "INTERNAL_ERROR");
}

#[tokio::test]
async fn more_than_a_burst_is_refused_until_the_pace_is_kept() {
    let host = Host::feed();
    for _ in 0..100 {
        assert_eq!(host.say(r#"{"type":"background_mode","enabled":true}"#).await, None);
    }
    let refused = host.say(r#"{"type":"background_mode","enabled":false}"#).await.expect("an answer");
    assert_eq!(refused["code"], "RATE_LIMIT_EXCEEDED");
    let later = SAID.plus(std::time::Duration::from_millis(50));
    assert_eq!(host.say_at(r#"{"type":"background_mode","enabled":false}"#, later).await, None);
}

#[tokio::test]
async fn who_goes_on_beyond_the_pace_is_answered_eight_times_and_then_sent_away() {
    let host = Host::feed();
    let ping = r#"{"type":"ping"}"#;
    for _ in 0..100 {
        host.say(ping).await.expect("a pong");
    }
    let mut answered = 0;
    for _ in 0..99 {
        answered += usize::from(host.say(ping).await.is_some());
    }
    assert_eq!((answered, host.told.take().len()), (8, 0), "the relay has nothing to do yet");
    assert_eq!(host.say(ping).await, None);
    let dismissed = host.connections.the_one();
    assert!(dismissed.is_dismissed());
    assert_eq!(host.told.take(), [Command::Connected(Box::new(dismissed))]);
    let writes = *host.connections.writes.lock();
    assert_eq!(host.say(r#"{"type":"subscribe","channels":["trades"]}"#).await, None);
    assert_eq!((*host.connections.writes.lock(), host.told.take().len()), (writes, 0), "it costs no more");
}

#[tokio::test]
async fn a_message_above_32_kb_is_refused_unread() {
    let host = Host::feed();
    let subscribe = |bytes: usize| {
        let text = r#"{"type":"subscribe","channels":["trades"]"#;
        format!("{text}{}}}", " ".repeat(bytes - text.len() - 1))
    };
    let error = host.say(&subscribe(32 * 1024 + 1)).await.expect("an answer");
    assert_eq!((&error["code"], &error["retryable"]), (&json!("TOO_LARGE"), &json!(false)));
    assert!(host.connections.the_one().filter().is_none());
    assert_eq!(host.say(&subscribe(32 * 1024)).await, None);
    assert!(host.connections.the_one().filter().is_some());
}

#[tokio::test]
async fn a_refresh_is_checked_by_the_keys_of_the_moment() {
    let host = Host::stream();
    let refresh = |token: &str| json!({"type": "refresh", "token": token, "correlation_id": 1}).to_string();
    assert_eq!(host.say(&refresh(&token())).await.expect("an answer")["type"], "ack");
    assert_eq!(host.say(&refresh("v1.x.1.y")).await.expect("an answer")["code"], "AUTH_INVALID");
    let host = Host::feed();
    assert_eq!(host.say(&refresh(api_key().expose())).await.expect("an answer")["type"], "ack");
    let host = Host::feed();
    *host.source.0.lock() = None;
    let error = host.say(&refresh(api_key().expose())).await.expect("an answer");
    assert_eq!(error["code"], "INTERNAL_ERROR", "secrets cannot be read");
}
