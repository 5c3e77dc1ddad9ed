//! Topics of publishers, over the writer that runs beside the engine.

use bond_core::publish::{PublishError, PublishRequest, PublishedAt};
use bond_core::topic::PublishedTopic;
use bond_ingest::publish::{TopicPublisher, WriterPorts};
use bond_supervise::Supervisor;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::jwt::{Minting, mint};

const PRICES: &str = "/v1/topics/prices.IN1234567890";

fn over(mut server: Server, publisher: Arc<dyn Publisher>) -> Server {
    Arc::get_mut(&mut server.state).expect("nobody else has it").publisher = publisher;
    server
}

async fn server_with(adjust: impl FnOnce(&mut RestSettings)) -> Server {
    let server = Server::with(true, adjust);
    let ports = WriterPorts {
        log: Arc::<MemoryLog>::clone(&server.log),
        fence: server.log.acquire().await.expect("a fence"),
        clock: Arc::<ManualClock>::clone(&server.clock),
    };
    let (publisher, _) = TopicPublisher::start(&ports, &Supervisor::default(), &CancellationToken::new());
    over(server, Arc::new(publisher))
}

pub(super) async fn server() -> Server {
    server_with(|_| {}).await
}

fn delta(payload: &Value) -> Value {
    json!({"events": [{"payload": payload}]})
}

impl Server {
    async fn publish(&self, topic: &str, body: &Value) -> Answer {
        self.post(&format!("/v1/topics/{topic}/events"), body).await
    }

    /// Publishes with an idempotency key.
    async fn publish_by(&self, key: &str, body: &Value) -> Answer {
        let request = request("POST", &format!("{PRICES}/events")).header("idempotency-key", key);
        self.send(request.body(body.to_string().into()).expect("request")).await
    }

    async fn head(&self) -> Option<u64> {
        self.get(&format!("{PRICES}/snapshot")).await.json["seq"].as_u64()
    }
}

#[tokio::test]
async fn a_batch_is_answered_with_its_numbers_and_the_state_with_its_tag() {
    let server = server().await;
    let body =
        r#"{"events":[{"type":"snapshot","payload":{"bid":99.10,"ask":100.5}},{"payload":{"bid":99.50}}]}"#;
    let published = server.call("POST", &format!("{PRICES}/events"), body).await;
    let epoch = published.json["epoch"].as_str().expect("an epoch").to_owned();
    let expected = json!({"topic": "prices.IN1234567890", "epoch": epoch, "first_seq": 1, "last_seq": 2});
    assert_eq!((published.status.as_u16(), &published.json), (200, &expected), "{published:?}");

    let snapshot = server.get(&format!("{PRICES}/snapshot")).await;
    assert!(
        snapshot.text.contains(r#""payload":{"ask":100.5,"bid":99.50}"#),
        "to the digit: {}",
        snapshot.text
    );
    let told = (&snapshot.json["epoch"], &snapshot.json["seq"], snapshot.json["ts"].as_str());
    assert_eq!(told, (&json!(epoch), &json!(2), Some("2023-11-14T22:13:20.000Z")));
    let tag = format!("\"{epoch}:2\"");
    assert_eq!(snapshot.header("etag"), tag);

    for (known, status) in [(tag.as_str(), 304), ("\"x:1\", W/TAG", 304), ("*", 304), ("\"x:1\"", 200)] {
        let request = request("GET", &format!("{PRICES}/snapshot"))
            .header(header::IF_NONE_MATCH, known.replace("TAG", &tag));
        let answer = server.send(request.body(Body::empty()).expect("request")).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (status, tag.as_str()), "{known}");
    }
    assert_eq!(server.get("/v1/topics/prices.nobody/snapshot").await.problem(), (404, "NOT_FOUND"));
    assert_eq!(server.get("/v1/topics/trades.okx.BTC-USDT/snapshot").await.problem(), (400, "INVALID_TOPIC"));
}

#[tokio::test]
async fn the_same_key_twice_is_one_event_and_another_batch_by_it_is_refused() {
    let server = server().await;
    let first = server.publish_by("7f", &delta(&json!({"bid": 1}))).await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = server.publish_by("7f", &delta(&json!({"bid": 1}))).await;
    assert_eq!((again.status, &again.json), (first.status, &first.json));
    let other = server.publish_by("7f", &delta(&json!({"bid": 2}))).await;
    assert_eq!(other.problem(), (400, "INVALID_MESSAGE"));
    assert_eq!(server.head().await, Some(1));
    for key in ["", "two words", "ä", &"x".repeat(201)] {
        let refused = server.publish_by(key, &delta(&json!({"bid": 1}))).await;
        assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"), "{key}");
        assert!(refused.detail().contains("Idempotency-Key has 1 to 200"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_key_is_its_callers_own() {
    let server = server().await;
    let [ann, bob] = ["ann", "bob"].map(|owner| server.key_with(owner, vec![Role::Publisher]));
    for (key, last_seq) in [(&ann, 1), (&bob, 2), (&ann, 1)] {
        let request = request("POST", &format!("{PRICES}/events"))
            .header(header::AUTHORIZATION, format!("Bearer {}", key.expose()))
            .header("idempotency-key", "7f");
        let answer = server.send(request.body(delta(&json!(1)).to_string().into()).expect("request")).await;
        assert_eq!(answer.json["last_seq"], last_seq, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_whole() {
    let server = server().await;
    server.publish("prices.IN1234567890", &delta(&json!({"bid": 1}))).await;
    let event = json!({"payload": {"bid": 2}});
    let large = json!({"payload": "x".repeat(25 * 1024)});
    for (events, problem) in [
        (vec![event.clone(); 101], (400, "INVALID_MESSAGE")),
        (vec![], (400, "INVALID_MESSAGE")),
        (vec![event.clone(), large], (413, "TOO_LARGE")),
        (vec![json!({"payload": {"bid": 2}, "meta": {"x": "x".repeat(22_000)}}); 3], (413, "TOO_LARGE")),
        (vec![event.clone(), json!({"type": "sing", "payload": 1})], (400, "INVALID_MESSAGE")),
    ] {
        let refused = server.publish("prices.IN1234567890", &json!({"events": events})).await;
        assert_eq!(refused.problem(), problem, "{}", refused.detail());
    }
    let half = |key: &str| delta(&json!({key: "x".repeat(13_000)}));
    assert_eq!(server.publish("prices.large", &half("a")).await.status, 200);
    assert_eq!(server.publish("prices.large", &half("b")).await.problem(), (413, "TOO_LARGE"));
    assert_eq!(server.head().await, Some(1), "nothing was appended");
}

#[tokio::test]
async fn who_expects_another_head_is_told_where_it_is() {
    let server = server().await;
    let with = |seq: u64| json!({"events": [{"payload": {"bid": 1}}], "if_seq": seq});
    let absent = server.publish("prices.IN1234567890", &with(3)).await;
    assert_eq!(
        (absent.problem(), &absent.json["head"]),
        ((409, "CONFLICT"), &json!({"epoch": null, "seq": 0}))
    );
    let epoch = server.publish("prices.IN1234567890", &with(0)).await.json["epoch"].clone();
    let late = server.publish("prices.IN1234567890", &with(0)).await;
    assert_eq!((late.problem(), &late.json["head"]), ((409, "CONFLICT"), &json!({"epoch": epoch, "seq": 1})));
    assert_eq!(late.json["retryable"], false);
    assert_eq!(server.publish("prices.IN1234567890", &with(1)).await.json["last_seq"], 2);
}

#[tokio::test]
async fn publishing_and_users_topics_need_the_role_of_a_publisher() {
    let server = server().await;
    let (publisher, reader) = (server.key_with("ann", vec![Role::Publisher]), server.key("bob"));
    let body = delta(&json!({"x": 1}));
    for topic in ["prices.X", "risk.u1"] {
        let path = format!("/v1/topics/{topic}/events");
        assert_eq!(server.post(&path, &body).await.problem(), (401, "AUTH_REQUIRED"));
        assert_eq!(server.call_as(&reader, "POST", &path, &body).await.problem(), (403, "FORBIDDEN"));
        let gone = server.call_as(&reader, "DELETE", &format!("/v1/topics/{topic}"), &json!(null)).await;
        assert_eq!(gone.problem(), (403, "FORBIDDEN"));
        assert_eq!(server.call_as(&publisher, "POST", &path, &body).await.status, 200);
    }
    for (key, topic, status) in
        [(&reader, "prices.X", 200), (&reader, "risk.u1", 403), (&publisher, "risk.u1", 200)]
    {
        for part in ["snapshot", "events"] {
            let answer =
                server.call_as(key, "GET", &format!("/v1/topics/{topic}/{part}"), &json!(null)).await;
            assert_eq!(answer.status, status, "{topic} {part}");
        }
    }
    for (key, names) in [(&reader, json!(["prices.X"])), (&publisher, json!(["prices.X", "risk.u1"]))] {
        let list = server.call_as(key, "GET", "/v1/topics", &json!(null)).await;
        let listed: Vec<_> =
            list.json["topics"].as_array().expect("topics").iter().map(|t| &t["topic"]).collect();
        assert_eq!(json!(listed), names);
    }
}

#[tokio::test]
async fn topics_are_listed_by_prefix_page_by_page() {
    let server = server().await;
    for name in ["prices.c", "prices.a", "risk.u1", "prices.b"] {
        server.publish(name, &delta(&json!(1))).await;
    }
    let mut names = Vec::new();
    let mut after = Some(String::new());
    while let Some(from) = after {
        let page = server.get(&format!("/v1/topics?prefix=prices.&limit=2&after={from}")).await.json;
        names.extend(page["topics"].as_array().expect("topics").iter().map(|topic| topic["topic"].clone()));
        after = page["next"].as_str().map(str::to_owned);
        assert!(names.len() <= 3);
    }
    assert_eq!(json!(names), json!(["prices.a", "prices.b", "prices.c"]));
    let all = server.get("/v1/topics").await.json;
    assert_eq!((all["topics"][3]["topic"].as_str(), &all["topics"][3]["seq"]), (Some("risk.u1"), &json!(1)));
    for limit in ["0", "1001"] {
        let refused = server.get(&format!("/v1/topics?limit={limit}")).await;
        assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"));
    }
}

#[tokio::test]
async fn events_come_in_their_envelope_and_what_is_missing_is_said() {
    let server = server().await;
    let body = json!({"events": [
        {"payload": {"bid": 1}, "meta": {"subtopic": "L1"}, "correlation_id": "o-17"},
        {"type": "alert", "payload": "low"},
        {"payload": {"bid": 2}},
    ]});
    let epoch = server.publish("prices.IN1234567890", &body).await.json["epoch"].clone();
    let page = server.get(&format!("{PRICES}/events?limit=2")).await.json;
    let first = json!({
        "type": "delta", "topic": "prices.IN1234567890", "epoch": epoch, "seq": 1, "ts": "2023-11-14T22:13:20.000Z",
        "payload": {"bid": 1}, "meta": {"subtopic": "L1"}, "correlation_id": "o-17",
    });
    assert_eq!((&page["events"][0], &page["events"][1]["type"]), (&first, &json!("alert")));
    assert_eq!((&page["last_seq"], &page["gap"], &page["epoch"]), (&json!(2), &json!(null), &epoch));
    let rest = server.get(&format!("{PRICES}/events?after_seq=2")).await.json;
    assert_eq!((rest["events"].as_array().map(Vec::len), &rest["events"][0]["seq"]), (Some(1), &json!(3)));
    let end = server.get(&format!("{PRICES}/events?after_seq=3")).await.json;
    assert_eq!((&end["events"], &end["last_seq"]), (&json!([]), &json!(3)));

    let other = server.get(&format!("{PRICES}/events?after_seq=2&epoch=another")).await.json;
    assert_eq!(other["gap"], json!({"from_seq": null, "to_seq": 0, "reason": "epoch_changed"}));
    assert_eq!(other["events"].as_array().map(Vec::len), Some(3));
    let many = json!({"events": vec![json!({"payload": 1}); 100]});
    server.publish("prices.IN1234567890", &many).await;
    server.clock.advance(Duration::from_secs(3600));
    let late = server.get(&format!("{PRICES}/events?after_seq=1")).await.json;
    assert_eq!(late["gap"], json!({"from_seq": 2, "to_seq": 3, "reason": "behind_ring"}));
    assert_eq!(
        (&late["events"][0]["seq"], &late["last_seq"]),
        (&json!(4), &json!(103)),
        "the newest 100 stay"
    );
    assert_eq!(server.get(&format!("{PRICES}/events?limit=101")).await.problem(), (400, "INVALID_MESSAGE"));
    assert_eq!(server.get(&format!("{PRICES}/events?after_seq=1&epoch=A")).await.problem().0, 400);
    assert_eq!(server.get("/v1/topics/prices.nobody/events").await.problem(), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn an_ended_topic_is_gone_and_begins_a_new_epoch() {
    let server = server().await;
    let first = server.publish("prices.IN1234567890", &delta(&json!(1))).await.json["epoch"].clone();
    let ended = server.call("DELETE", PRICES, Body::empty()).await;
    assert_eq!((ended.status.as_u16(), ended.text.as_str()), (204, ""));
    assert_eq!(server.call("DELETE", PRICES, Body::empty()).await.problem(), (404, "NOT_FOUND"));
    assert_eq!(server.head().await, None);
    let next = server.publish("prices.IN1234567890", &delta(&json!(1))).await.json;
    assert_eq!(next["first_seq"], 1);
    assert_ne!(next["epoch"], first);
}

#[tokio::test]
async fn many_topics_are_answered_one_by_one() {
    let server = server().await;
    let key = server.key_with("ann", vec![Role::Publisher]);
    let large = delta(&json!({"a": "x".repeat(20_000)}));
    server.call_as(&key, "POST", "/v1/topics/prices.full/events", &large).await;
    let body = json!({"topics": ["prices.a", "prices.full", "risk.u1"], "events": [{"payload": {"b": "y".repeat(5_000)}}]});
    let answer = server.call_as(&key, "POST", "/v1/publish", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = &answer.json["results"];
    let told: Vec<_> = (0..3)
        .map(|n| (&results[n]["topic"], &results[n]["last_seq"], &results[n]["error"]["code"]))
        .collect();
    let (a, full, risk) = (json!("prices.a"), json!("prices.full"), json!("risk.u1"));
    let (one, none, too_large) = (json!(1), json!(null), json!("TOO_LARGE"));
    assert_eq!(told, [(&a, &one, &none), (&full, &none, &too_large), (&risk, &one, &none)]);

    let reader = server.key("bob");
    let answer = server.call_as(&reader, "POST", "/v1/publish", &body).await.json;
    assert_eq!(answer["results"][0]["error"]["code"], "FORBIDDEN");
    let names = |count: usize| (0..count).map(|n| format!("prices.t{n}")).collect::<Vec<_>>();
    for topics in [names(101), vec![], vec!["prices.a".into(), "prices.a".into()]] {
        let body = json!({"topics": topics, "events": [{"payload": 1}]});
        let refused = server.call_as(&key, "POST", "/v1/publish", &body).await;
        assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"));
    }
    let hundred = json!({"topics": names(100), "events": [{"payload": 1}]});
    let results = server.call_as(&key, "POST", "/v1/publish", &hundred).await.json;
    let appended = results["results"].as_array().expect("results").iter().filter(|one| one["last_seq"] == 1);
    assert_eq!(appended.count(), 100);
}

/// Never answers.
struct Silent;

#[async_trait::async_trait]
impl Publisher for Silent {
    async fn publish(&self, _: PublishRequest) -> Result<PublishedAt, PublishError> {
        std::future::pending().await
    }

    async fn end(&self, _: &PublishedTopic) -> Result<bool, PublishError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_cannot_be_reached_is_told_within_two_seconds() {
    for server in [Server::new(), over(Server::new(), Arc::new(Silent))] {
        let began = tokio::time::Instant::now();
        let refused = server.publish("prices.IN1234567890", &delta(&json!(1))).await;
        assert_eq!(refused.problem(), (503, "CONNECTION_ERROR"));
        assert_eq!((&refused.json["retryable"], refused.header("retry-after")), (&json!(true), "1"));
        assert!(began.elapsed() <= Duration::from_secs(2));
        assert_eq!(server.call("DELETE", PRICES, Body::empty()).await.problem(), (503, "CONNECTION_ERROR"));
    }
}

#[tokio::test]
async fn an_owners_pace_holds_for_topics_too() {
    let server = server_with(|settings| settings.per_second = 1).await;
    for _ in 0..4 {
        assert_eq!(server.publish("prices.a", &delta(&json!(1))).await.status, 200);
    }
    let refused = server.publish("prices.a", &delta(&json!(1))).await;
    assert_eq!(refused.problem(), (429, "RATE_LIMIT_EXCEEDED"));
    assert_eq!(server.get("/v1/topics").await.problem(), (429, "RATE_LIMIT_EXCEEDED"));
}

#[tokio::test]
async fn a_token_reads_and_publishes_what_it_covers_with_and_without_keys() {
    let server = server().await;
    let minting = Minting {
        user: "u1".into(),
        topics: Some(vec!["prices.>".to_owned()]),
        publish: vec!["prices.X".to_owned()],
        expires_at: NOW.plus(Duration::from_secs(60)),
        ..Minting::default()
    };
    let token = mint(&minting, SECRET).expect("minted");
    let call = async |method: &str, path: &str, token: &str, body: String| {
        let request = request(method, path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        server.send(request.body(body.into()).expect("request")).await
    };
    for _ in ["open mode", "with keys"] {
        for (topic, status) in [("prices.X", 200), ("prices.Y", 403), ("risk.u1", 403)] {
            let answer =
                call("POST", &format!("/v1/topics/{topic}/events"), &token, delta(&json!(1)).to_string())
                    .await;
            assert_eq!(answer.status, status, "{topic}: {answer:?}");
        }
        for (topic, status) in [("prices.X", 200), ("prices.Y", 404), ("risk.u1", 403)] {
            let answer = call("GET", &format!("/v1/topics/{topic}/snapshot"), &token, String::new()).await;
            assert_eq!(answer.status, status, "{topic}: {answer:?}");
        }
        let refused = call("GET", "/v1/topics", "a.b.c", String::new()).await;
        assert_eq!(refused.problem(), (401, "AUTH_INVALID"));
        server.key("ann");
    }
    server.clock.advance(Duration::from_secs(120));
    assert_eq!(call("GET", "/v1/topics", &token, String::new()).await.problem(), (401, "AUTH_EXPIRED"));
}
