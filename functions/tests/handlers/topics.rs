//! Connections to topics: who may open them, what they begin with, and what their messages come to.

use std::sync::Arc;
use std::time::Duration;

use bond_core::connection::{Connection, MOST_TOPICS_OF_ITEM, TopicStart, TopicsItem};
use bond_core::time::UnixNanos;
use bond_functions::connect::Connect;
use bond_functions::event::Answer;
use bond_functions::message::Messages;
use bond_functions::secrets::Vault;
use serde_json::{Value, json};

use super::support::*;

/// When the messages are made unless a test says so.
const SAID: UnixNanos = UnixNanos::from_millis(1_700_000_020_500);

struct Host {
    connect: Connect,
    messages: Messages,
    connections: Arc<Connections>,
    told: Arc<Told>,
    users: Arc<Users>,
}

impl Host {
    async fn new() -> Self {
        let (connections, told) = (Arc::new(Connections::default()), Arc::new(Told::default()));
        let users = Arc::<Users>::default();
        let vault = Vault::new(Box::new(Source::new()));
        let admission = gate(&vault).await;
        let connect = Connect {
            admission,
            vault,
            connections: connections.clone(),
            control: told.clone(),
            emf: emf("ws_connect").0,
        };
        let messages = Messages {
            connections: connections.clone(),
            control: told.clone(),
            users: users.clone(),
            vault: Vault::new(Box::new(Source::new())),
            clock: clock(),
            emf: emf("ws_message").0,
        };
        Self { connect, messages, connections, told, users }
    }

    /// One to which the user `u1` has connected.
    async fn connected() -> Self {
        let host = Self::new().await;
        let answer = host.open(&[("topic", ""), ("token", &jwt("u1", None, 3600))]).await;
        assert_eq!(answer.status_code, 200, "{answer:?}");
        host.told.take();
        host
    }

    async fn open(&self, query: &[(&str, &str)]) -> Answer {
        self.connect.handle(connect_event(query, &[])).await.expect("an event")
    }

    async fn say(&self, text: &str) -> Option<Value> {
        self.say_at(text, SAID).await
    }

    async fn say_at(&self, text: &str, at: UnixNanos) -> Option<Value> {
        let event = event(include_str!("../fixtures/message.json"), |event| {
            event["body"] = json!(text);
            event["requestContext"]["requestTimeEpoch"] = json!(at.as_millis());
        });
        let body = self.messages.handle(event).await.expect("an event").body?;
        let answer: Value = serde_json::from_str(&body).expect("json");
        for member in ["type", "topic", "epoch", "seq", "ts", "payload", "meta", "correlation_id"] {
            assert!(answer.get(member).is_some(), "no {member} in {answer}");
        }
        Some(answer)
    }
}

fn item(connection: &Connection) -> &TopicsItem {
    connection.topics().expect("a connection to topics")
}

fn topics(connection: &Connection) -> Vec<&str> {
    item(connection).state.topics.keys().map(|name| name.as_str()).collect()
}

/// What the relay is to tell, as the topic and what becomes of it.
fn pending(connection: &Connection) -> Vec<(String, Option<&'static str>)> {
    let pending = item(connection).pending.iter().filter(|pending| pending.at == connection.asked_at);
    let of = |answer: &bond_core::connection::PendingAnswer| match &answer.answer {
        Ok(ack) => (ack.topic.as_deref().unwrap_or_default().to_owned(), None),
        Err(refusal) => {
            (refusal.topic.as_deref().unwrap_or_default().to_owned(), Some(refusal.error.code.as_str()))
        }
    };
    pending.map(of).collect()
}

#[tokio::test]
async fn a_token_opens_the_topics_that_the_url_names_and_is_kept_as_what_it_grants() {
    let host = Host::new().await;
    let token = jwt("u1", None, 3600);
    let query =
        [("topics", "prices.X,risk.u1.alerts"), ("token", &token), ("rate", "low"), ("background", "true")];
    let answer = host.open(&query).await;
    assert_eq!(answer.status_code, 200, "{answer:?}");
    let kept = host.connections.the_one();
    assert_eq!(topics(&kept), ["prices.X", "risk.u1.alerts"]);
    let item = item(&kept);
    assert!(
        item.state.is_background && item.grants.may_read("trading.u1") && !item.grants.may_read("trading.u2")
    );
    assert_eq!(
        kept.expires_at,
        Some(UnixNanos::from_secs(CONNECTED.plus(Duration::from_secs(3600)).as_secs()))
    );
    assert!(kept.control && kept.to_json().len() < 4096 && !kept.to_json().contains(&token));
    assert_eq!(host.told.take().len(), 1);
}

#[tokio::test]
async fn where_the_one_topic_of_a_url_begins_is_said_there_and_nowhere_for_several() {
    let host = Host::new().await;
    let token = jwt("u1", None, 3600);
    for (name, value, start) in
        [("resume_from_seq", "812", TopicStart::After(None, 812)), ("rewind", "20", TopicStart::Rewind(20))]
    {
        host.open(&[("topic", "prices.X"), ("token", &token), (name, value)]).await;
        assert_eq!(item(&host.connections.the_one()).state.topics["prices.X"].start, start);
    }
    host.open(&[("topic", "prices.X,prices.Y"), ("token", &token), ("resume_from_seq", "812")]).await;
    let kept = host.connections.the_one();
    assert_eq!(item(&kept).state.topics["prices.X"].start, TopicStart::State);
    assert_eq!(pending(&kept), [(String::new(), Some("INVALID_MESSAGE"))]);
}

#[tokio::test]
async fn who_may_not_is_refused_at_the_handshake() {
    let host = Host::new().await;
    let (good, late) = (jwt("u1", None, 3600), jwt("u1", None, 3600).replace('.', "x"));
    let expired = {
        let minting = bond_api::jwt::Minting {
            user: "u1".into(),
            expires_at: CONNECTED.minus(Duration::from_secs(60)),
            ..Default::default()
        };
        bond_api::jwt::mint(&minting, ISSUER_SECRET).expect("a token")
    };
    let wrong = {
        let minting = bond_api::jwt::Minting {
            user: "u1".into(),
            expires_at: CONNECTED.plus(Duration::from_secs(60)),
            ..Default::default()
        };
        bond_api::jwt::mint(&minting, &"x".repeat(32)).expect("a token")
    };
    let many: Vec<String> = (0..=MOST_TOPICS_OF_ITEM).map(|n| format!("prices.{n}")).collect();
    let many = many.join(",");
    for (query, status) in [
        (vec![("topic", "prices.X")], 401),
        (vec![("topic", "prices.X"), ("token", late.as_str())], 401),
        (vec![("topic", "prices.X"), ("token", expired.as_str())], 401),
        (vec![("topic", "prices.X"), ("token", wrong.as_str())], 401),
        (vec![("topic", "trading.u2"), ("token", good.as_str())], 403),
        (vec![("topic", "prices..X"), ("token", good.as_str())], 400),
        (vec![("topic", many.as_str()), ("token", good.as_str())], 429),
    ] {
        let answer = host.open(&query).await;
        assert_eq!(answer.status_code, status, "{query:?}");
    }
    assert!(host.connections.kept.lock().is_empty() && host.told.take().is_empty());
}

#[tokio::test]
async fn answers_that_say_where_a_topic_stands_are_left_to_the_relay() {
    let host = Host::connected().await;
    let said = r#"{"type":"subscribe","topics":["prices.X","trading.u2","prices.Y","risk.u2"],"correlation_id":"c1"}"#;
    let at_once = host.say(said).await.expect("the first refusal");
    assert_eq!(
        (&at_once["code"], &at_once["details"]["topic"], &at_once["correlation_id"]),
        (&json!("FORBIDDEN"), &json!("risk.u2"), &json!("c1"))
    );
    let kept = host.connections.the_one();
    assert_eq!(topics(&kept), ["prices.X", "prices.Y"]);
    assert_eq!(
        pending(&kept),
        [("prices.X".into(), None), ("prices.Y".into(), None), ("trading.u2".into(), Some("FORBIDDEN"))]
    );
    assert_eq!(item(&kept).pending[0].correlation_id.as_deref(), Some("\"c1\""));
    assert_eq!(host.told.take().len(), 1, "the relay knows");
    assert_eq!(host.say(r#"{"type":"unsubscribe","topic":"prices.X"}"#).await, None);
    assert_eq!(pending(&host.connections.the_one()), [("prices.X".into(), None)]);
    let unknown = host.say(r#"{"type":"unsubscribe","topic":"prices.Z"}"#).await.expect("an answer");
    assert_eq!(unknown["code"], "NOT_FOUND");
    let ack = host.say(r#"{"type":"background_mode","enabled":true}"#).await.expect("an answer");
    assert_eq!(
        (&ack["type"], &ack["topic"], &ack["action"]),
        (&json!("ack"), &json!("system"), &json!("background_mode"))
    );
    assert_eq!(host.say("{").await.expect("an answer")["code"], "INVALID_MESSAGE");
}

#[tokio::test]
async fn three_hundred_pings_are_answered_and_cost_nothing() {
    let host = Host::connected().await;
    let before = *host.connections.writes.lock();
    for n in 0..300 {
        let pong = host.say(&format!(r#"{{"type":"ping","correlation_id":{n}}}"#)).await.expect("a pong");
        assert_eq!((&pong["type"], &pong["correlation_id"]), (&json!("pong"), &json!(n)));
    }
    assert_eq!(*host.connections.writes.lock(), before);
    assert!(host.say(r#"{"type":"background_mode","enabled":true}"#).await.is_some());
}

#[tokio::test]
async fn a_family_beyond_its_burst_is_refused_until_the_time_it_says() {
    let host = Host::connected().await;
    let subscribe = r#"{"type":"subscribe","topic":"risk.u1"}"#;
    for _ in 0..100 {
        assert_eq!(host.say(subscribe).await, None);
    }
    let refused = host.say(subscribe).await.expect("an answer");
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("RATE_LIMIT_EXCEEDED"), &json!(true)));
    let wait = refused["details"]["retry_after_ms"].as_u64().expect("a time");
    assert!((5_900..=6_100).contains(&wait), "{wait}");
    assert_eq!(host.say(r#"{"type":"subscribe","topic":"prices.X"}"#).await, None, "another family");
    assert_eq!(host.say_at(subscribe, SAID.plus(Duration::from_millis(wait + 100))).await, None);
    let answered = {
        let mut answered = 0;
        for _ in 0..150 {
            answered += usize::from(host.say(subscribe).await.is_some());
        }
        answered
    };
    assert!((100..=110).contains(&answered), "a flood of them is answered no more: {answered}");
}

#[tokio::test]
async fn a_user_has_one_limit_over_all_connections_counted_once_a_message() {
    let host = Host::connected().await;
    host.users.left.lock().insert("user:u1".to_owned(), 3);
    let asked = *host.users.asked.lock();
    let said = r#"{"type":"subscribe","topics":["prices.A","prices.B","prices.C","prices.D"]}"#;
    let refused = host.say(said).await.expect("an answer");
    assert_eq!(refused["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused["details"]["retry_after_ms"], 1200);
    assert_eq!((topics(&host.connections.the_one()).len(), *host.users.asked.lock() - asked), (3, 1));
    *host.users.out_of_reach.lock() = true;
    assert_eq!(
        host.say(r#"{"type":"subscribe","topic":"prices.E"}"#).await,
        None,
        "the connection's limit alone"
    );
    assert_eq!(topics(&host.connections.the_one()).len(), 4);
}

#[tokio::test]
async fn a_refresh_moves_the_end_and_takes_away_what_is_no_longer_granted() {
    let host = Host::connected().await;
    host.say(r#"{"type":"subscribe","topics":["prices.X","risk.u1"]}"#).await;
    let refresh = |token: &str| json!({"type": "refresh", "token": token, "correlation_id": 1}).to_string();
    let other = host.say(&refresh(&jwt("u2", None, 3600))).await.expect("an answer");
    assert_eq!(other["code"], "AUTH_INVALID");
    let ack = host.say(&refresh(&jwt("u1", Some(&["prices.>"]), 7200))).await.expect("an answer");
    assert_eq!((&ack["type"], &ack["action"]), (&json!("ack"), &json!("refresh")));
    let kept = host.connections.the_one();
    assert_eq!(kept.expires_at.map(UnixNanos::as_secs), Some(CONNECTED.as_secs() + 7200));
    assert_eq!(
        (topics(&kept), pending(&kept)),
        (vec!["prices.X"], vec![("risk.u1".into(), Some("FORBIDDEN"))])
    );
}
