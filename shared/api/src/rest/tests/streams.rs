//! Streams, tokens and quotas.

use bond_core::topic::StreamId;

use super::*;

fn id(answer: &Answer) -> StreamId {
    StreamId::parse(answer.json["stream_id"].as_str().unwrap_or_default()).expect("a stream id")
}

/// The token in a `ws_url`, and what comes before it.
fn split(ws_url: &Value) -> (&str, &str) {
    ws_url.as_str().and_then(|url| url.split_once("?token=")).expect("a token in ws_url")
}

#[tokio::test]
async fn a_sentence_becomes_a_stream_that_can_be_opened_at_once() {
    let server = Server::new();
    let made = server.post("/v1/streams", &json!({"natural_language": "BTC price + tweets every 5s"})).await;
    assert_eq!(made.status, 200, "{made:?}");
    let id = id(&made);
    let (base, token) = split(&made.json["ws_url"]);
    assert_eq!(base, format!("ws://localhost:8080/ws/{id}"));
    assert_eq!(made.json["token"], token);
    assert!(server.state.tokens.verify(token, &id, NOW).is_ok(), "the token opens the stream");
    assert_eq!((&made.json["expires_in_sec"], &made.json["created"]), (&json!(3600), &json!(true)));
    assert_eq!(made.json["spec"]["symbols"], json!(["BTC/USDT"]));
    assert!(!made.json["explanation"].as_array().expect("explanation").is_empty());
    assert_eq!(server.commands(), [Command::StreamsChanged], "ingest is told");
    let desired = server.state.store.desired(NOW).await.expect("desired");
    assert_eq!(desired.iter().map(|stream| &stream.id).collect::<Vec<_>>(), [&id]);
}

#[tokio::test]
async fn the_same_spec_is_the_same_stream() {
    let server = Server::new();
    let first = server.post("/v1/streams", &json!({"natural_language": "BTC price"})).await;
    let again = server.post("/v1/streams", &json!({"spec": first.json["spec"]})).await;
    assert_eq!((again.status.as_u16(), &again.json["created"]), (200, &json!(false)), "{again:?}");
    assert_eq!(id(&again), id(&first));
    assert_eq!(again.json["spec"], first.json["spec"]);
    assert_eq!(server.commands().len(), 1, "ingest is told of what changed alone");
}

#[tokio::test]
async fn a_stream_is_made_though_ingest_hangs_or_is_gone() {
    let server = Server::new();
    *server.control.refuses.lock() = true;
    assert_eq!(server.post("/v1/streams", &spec("BTC/USDT")).await.status, 200);
    *server.control.hangs.lock() = true;
    let made =
        tokio::time::timeout(Duration::from_secs(2), server.post("/v1/streams", &spec("ETH/USDT"))).await;
    assert_eq!(made.expect("within two seconds").status, 200);
}

#[tokio::test]
async fn fields_beside_the_spec_are_ignored_and_fields_in_it_are_named() {
    let server = Server::new();
    let mut body = spec("BTC/USDT");
    body["client"] = json!("beside");
    assert_eq!(server.post("/v1/streams", &body).await.status, 200);
    body["spec"]["colour"] = json!("red");
    let refused = server.post("/v1/streams", &body).await;
    assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"));
    assert!(refused.detail().contains("colour"), "{refused:?}");
    assert!(refused.json["errors"][0]["message"].is_string(), "{refused:?}");
}

#[tokio::test]
async fn what_is_not_understood_comes_with_suggestions_and_makes_nothing() {
    let server = Server::new();
    let refused = server.post("/v1/streams", &json!({"natural_language": "hello there"})).await;
    assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"));
    assert!(!refused.json["suggestions"].as_array().expect("suggestions").is_empty(), "{refused:?}");
    assert_eq!(server.get("/v1/streams").await.json, json!([]));
}

#[tokio::test]
async fn a_request_says_what_it_wants_in_one_way() {
    let server = Server::new();
    for (body, word) in [
        (json!({}), "natural_language"),
        (json!({"natural_language": 5}), "string"),
        (json!({"natural_language": "BTC price", "spec": {}}), "not both"),
        (json!({"spec": "BTC"}), ""),
        (json!({"natural_language": "BTC price", "ttl_sec": 0}), "ttl_sec"),
        (json!({"natural_language": "BTC price", "ttl_sec": "5"}), "ttl_sec"),
        (json!({"natural_language": "BTC price", "ttl_sec": 1e12}), "ttl_sec"),
        (json!([]), "object"),
    ] {
        let refused = server.post("/v1/streams", &body).await;
        assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"), "{body}");
        assert!(refused.detail().contains(word), "{refused:?}");
    }
}

#[tokio::test]
async fn a_private_address_is_no_source() {
    let body = json!({"spec": {"sources": [{"type": "websocket", "url": "ws://169.254.169.254/", "map": {"value": "/p"}}]}});
    let refused = Server::new().post("/v1/streams", &body).await;
    assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"));
    let allowed =
        Server::with(true, |settings| settings.allow_private_sources = true).post("/v1/streams", &body).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
}

#[tokio::test]
async fn a_quota_is_the_owners() {
    let server = Server::with(true, |settings| settings.max_streams = 2);
    let ids: Vec<_> = [
        server.post("/v1/streams", &spec("BTC/USDT")).await,
        server.post("/v1/streams", &spec("ETH/USDT")).await,
    ]
    .iter()
    .map(id)
    .collect();
    let refused = server.post("/v1/streams", &spec("SOL/USDT")).await;
    assert_eq!(refused.problem(), (429, "LIMIT_EXCEEDED"));
    assert!(refused.detail().contains('2') && refused.detail().contains("BOND_MAX_STREAMS"), "{refused:?}");
    assert_eq!(
        server.post("/v1/streams", &spec("ETH/USDT")).await.status,
        200,
        "one that runs may be had again"
    );
    server.call("DELETE", &format!("/v1/streams/{}", ids[0]), Body::empty()).await;
    assert_eq!(server.post("/v1/streams", &spec("SOL/USDT")).await.status, 200);
}

#[tokio::test]
async fn a_claim_ends_with_its_ttl() {
    let server = Server::new();
    let mut body = spec("BTC/USDT");
    body["ttl_sec"] = json!(10);
    let made = server.post("/v1/streams", &body).await;
    let path = format!("/v1/streams/{}", id(&made));
    server.clock.advance(Duration::from_secs(9));
    assert_eq!(server.get(&path).await.status, 200);
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.get(&path).await.problem(), (404, "NOT_FOUND"));
    assert_eq!(server.state.store.desired(server.clock.now()).await, Ok(vec![]));
}

#[tokio::test]
async fn a_spec_may_carry_the_ttl() {
    let server = Server::new();
    let mut body = spec("BTC/USDT");
    body["spec"]["ttl_sec"] = json!(10);
    let made = server.post("/v1/streams", &body).await;
    let (_, claims) = server.state.store.get(&id(&made), NOW).await.expect("get").expect("a stream");
    assert_eq!(claims[0].expires_at, Some(NOW.plus(Duration::from_secs(10))));
}

#[tokio::test]
async fn a_stream_can_be_looked_at_and_deleted() {
    let server = Server::new();
    let made = server.post("/v1/streams", &spec("BTC/USDT")).await;
    let path = format!("/v1/streams/{}", id(&made));
    let found = server.get(&path).await;
    assert_eq!((&found.json["stream_id"], &found.json["running"]), (&made.json["stream_id"], &json!(true)));
    assert_eq!(found.json["spec"], made.json["spec"]);
    assert_eq!(split(&found.json["ws_url"]).0, split(&made.json["ws_url"]).0);
    server.commands();
    let deleted = server.call("DELETE", &path, Body::empty()).await;
    let expected = json!({"stream_id": made.json["stream_id"], "deleted": true, "status": "deleted"});
    assert_eq!((deleted.status.as_u16(), deleted.json), (200, expected));
    assert_eq!(server.commands(), [Command::StreamsChanged], "ingest is told");
    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/token"))]
    {
        let gone = server.call(method, &path, Body::empty()).await;
        assert_eq!(gone.problem(), (404, "NOT_FOUND"), "{method} {path}");
    }
    assert_eq!(server.get("/v1/streams/nonsense").await.problem(), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_token_is_given_anew() {
    let server = Server::new();
    let made = server.post("/v1/streams", &spec("BTC/USDT")).await;
    server.clock.advance(Duration::from_secs(4000));
    let given = server.post(&format!("/v1/streams/{}/token", id(&made)), &json!({})).await;
    let token = given.json["token"].as_str().expect("token");
    assert_eq!(split(&given.json["ws_url"]).1, token);
    assert_eq!(given.json["expires_in_sec"], 3600);
    let end =
        server.state.tokens.verify(token, &id(&made), server.clock.now()).expect("a good token").expires_at;
    assert_eq!(end, NOW.plus(Duration::from_secs(7600)));
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let server = Server::with(true, |settings| settings.max_streams = 5000);
    for n in 0..1001_u64 {
        let id = StreamId::from_bytes(n.to_be_bytes());
        let stream = bond_core::store::DesiredStream {
            id,
            canonical: n.to_string(),
            spec: r#"{"version":"v1","sources":[{"type":"market","symbols":["BTC/USDT"],"channels":["ticker","trades"],"market_type":"spot"}],"symbols":["BTC/USDT"],"interval_sec":5,"transforms":[],"ttl_sec":null}"#.into(),
            created_at: NOW,
        };
        let claim =
            bond_core::store::Claim { owner: "local".into(), expires_at: None, labels: Default::default() };
        server.state.store.claim(stream, claim, 5000, NOW).await.expect("claim");
    }
    let first = server.get("/v1/streams").await;
    assert_eq!(first.json.as_array().map(Vec::len), Some(1000));
    assert_eq!(first.json[0]["spec"]["symbols"], json!(["BTC/USDT"]));
    let link = first.header("link").strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<'));
    let second = server.get(link.expect("a next page")).await;
    assert_eq!(second.json.as_array().map(Vec::len), Some(1));
    assert_eq!(second.json[0]["stream_id"], "00000000000003e8");
    assert_eq!(second.header("link"), "", "the last page has no next");
    assert_eq!(server.get("/v1/streams?after=x").await.problem(), (400, "INVALID_MESSAGE"));
}

#[tokio::test]
async fn what_one_owner_wrote_no_other_reads() {
    let server = Server::new();
    let (alice, bob) = (server.key("alice"), server.key("bob"));
    let mut hers = spec("DOGE/USDT");
    hers["spec"]["name"] = "alices name".into();
    hers["spec"]["description"] = "short ACME before Friday".into();
    hers["spec"]["ttl_sec"] = 600.into();
    let made = server.call_as(&alice, "POST", "/v1/streams", &hers).await;
    let joined = server.call_as(&bob, "POST", "/v1/streams", &spec("DOGE/USDT")).await;
    assert_eq!((id(&joined), &joined.json["created"]), (id(&made), &json!(false)));
    let path = format!("/v1/streams/{}", id(&made));
    for answer in [
        joined,
        server.call_as(&bob, "GET", &path, &Value::Null).await,
        server.call_as(&bob, "GET", "/v1/streams", &Value::Null).await,
    ] {
        let says = |word| answer.text.contains(word);
        assert!(
            answer.status == 200 && !says("alices") && !says("ACME") && !says("\"ttl_sec\":600"),
            "{answer:?}"
        );
    }
    let seen = server.call_as(&alice, "GET", &path, &Value::Null).await.json["spec"].clone();
    assert_eq!((&seen["name"], &seen["ttl_sec"]), (&json!("alices name"), &json!(600)));
    let desired = server.state.store.desired(NOW).await.expect("streams");
    assert!(!desired[0].spec.contains("ACME"), "nor does ingest: {}", desired[0].spec);
}

#[tokio::test]
async fn labels_that_were_kept_with_the_stream_are_nobodys() {
    let server = Server::new();
    let made = server.post("/v1/streams", &spec("BTC/USDT")).await;
    let mut old = made.json["spec"].clone();
    old["name"] = "whoever came first".into();
    let stream = bond_core::store::DesiredStream {
        id: StreamId::parse("00000000000000aa").expect("id"),
        canonical: "x".into(),
        spec: old.to_string(),
        created_at: NOW,
    };
    let claim =
        bond_core::store::Claim { owner: "local".into(), expires_at: None, labels: Default::default() };
    server.state.store.claim(stream, claim, 9, NOW).await.expect("claim");
    let shown = server.get("/v1/streams/00000000000000aa").await;
    assert_eq!((shown.status.as_u16(), shown.json["spec"].get("name")), (200, made.json["spec"].get("name")));
}

#[tokio::test]
async fn a_streams_metrics_are_its_meters() {
    let server = Server::new();
    let made = server.post("/v1/streams", &spec("BTC/USDT")).await;
    let meter = server.meters.of(&id(&made));
    meter.add_in(7);
    meter.add_out(5);
    meter.add_dropped(2);
    meter.add_latency(Duration::from_micros(1500));
    server.clock.advance(Duration::from_millis(2500));
    let found = server.get(&format!("/v1/streams/{}/metrics", id(&made))).await;
    let expected = json!({
        "uptime_sec": 2.5, "created_at": "2023-11-14T22:13:20.000Z", "msgs_in": 7, "msgs_out": 5, "dropped": 2,
        "latency_p50_ms": 1.5, "latency_p95_ms": 1.5, "latency_samples": 1,
    });
    assert_eq!(found.json, expected);
}

#[tokio::test]
async fn compiling_creates_nothing() {
    let server = Server::new();
    let compiled = server.post("/v1/compile", &json!({"natural_language": "ETH vwap on okx every 1m"})).await;
    assert_eq!(compiled.status, 200, "{compiled:?}");
    for field in ["spec", "stream_id", "explanation", "warnings"] {
        assert!(!compiled.json[field].is_null(), "{field}");
    }
    let made = server.post("/v1/streams", &json!({"spec": compiled.json["spec"]})).await;
    assert_eq!((&made.json["stream_id"], &made.json["created"]), (&compiled.json["stream_id"], &json!(true)));
}
