//! Health, metrics and the description of the interface.

use bond_core::source::{SourceState, SourceStatus};
use bond_language::read_spec;

use super::*;

#[tokio::test]
async fn the_server_names_itself() {
    let server = Server::new();
    assert_eq!(server.get("/").await.json, json!({"status": "ok", "service": "bond"}));
    assert_eq!(server.get("/health").await.json, json!({"status": "ok"}));
}

#[tokio::test]
async fn readiness_is_that_of_all_its_parts() {
    let server = Server::new();
    assert_eq!(server.get("/ready").await.json, json!({"status": "ok"}));
    server.readiness.set(false);
    server.clock.advance(Duration::from_secs(1));
    let refused = server.get("/ready").await;
    assert_eq!(refused.problem(), (503, "CONNECTION_ERROR"));
    assert!(refused.detail().contains("ingest"), "{refused:?}");
    assert_eq!(server.get("/health").await.status, 200, "it lives all the same");
}

#[tokio::test]
async fn metrics_are_json_unless_text_is_asked_for() {
    let server = Server::new();
    let status = |state| SourceStatus { state, since: NOW, simulated: false };
    server.board.put("binance", status(SourceState::Connected));
    server.board.put("okx", status(SourceState::Reconnecting));
    server.board.put("social", status(SourceState::Connected));
    server.clock.advance(Duration::from_secs(10));
    let expected = json!({
        "active_subscriptions": 1, "messages_per_second": 2.0, "uptime": 10.0,
        "exchange_status": {"binance": "connected", "okx": "reconnecting"},
    });
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/html,*/*;q=0.8")] {
        let mut request = request("GET", "/metrics");
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let answer = server.send(request.body(Body::empty()).expect("request")).await;
        assert_eq!(answer.json, expected, "{accept:?}");
    }
    for accept in [
        "text/plain",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
    ] {
        let request = request("GET", "/metrics").header(header::ACCEPT, accept).body(Body::empty());
        let answer = server.send(request.expect("request")).await;
        assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{accept}");
        assert_eq!(answer.json, Value::Null, "{accept}");
    }
}

#[tokio::test]
async fn the_messages_of_websockets_are_described() {
    let server = Server::new();
    let answer = server.get("/asyncapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json["asyncapi"], "3.0.0");
    assert_eq!(answer.json["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_description_covers_every_route() {
    let server = Server::new();
    let document = server.get("/openapi.json").await.json;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").iter();
        described.extend(methods.map(|(method, _)| format!("{} {path}", method.to_uppercase())));
    }
    described.sort();
    let expected = [
        "DELETE /v1/streams/{id}",
        "DELETE /v1/topics/{topic}",
        "GET /",
        "GET /health",
        "GET /metrics",
        "GET /ready",
        "GET /v1/streams",
        "GET /v1/streams/{id}",
        "GET /v1/streams/{id}/metrics",
        "GET /v1/topics",
        "GET /v1/topics/{topic}/events",
        "GET /v1/topics/{topic}/snapshot",
        "POST /v1/compile",
        "POST /v1/feeds/token",
        "POST /v1/publish",
        "POST /v1/streams",
        "POST /v1/streams/{id}/token",
        "POST /v1/topics/{topic}/events",
        "POST /v1/users/{user}/disconnect",
    ];
    assert_eq!(described, expected);
    for route in described {
        let (method, path) = route.split_once(' ').expect("a route");
        let path =
            path.replace("{id}", "0123456789abcdef").replace("{topic}", "prices.X").replace("{user}", "u1");
        let answer = server.call(method, &path, Body::empty()).await;
        assert_ne!(answer.status, 405, "{route}");
        assert!(
            answer.status != 404
                || ["you have no stream", "prices.X"].iter().any(|part| answer.detail().contains(part)),
            "{route}: {answer:?}"
        );
    }
    let create = &document["paths"]["/v1/streams"]["post"];
    for status in ["200", "400", "401", "413", "415", "429"] {
        assert!(create["responses"][status].is_object(), "{status}");
    }
    let refusal = create["responses"]["400"]["$ref"].as_str().expect("a shared response").replace('#', "");
    let refusal = &document.pointer(&refusal).expect("a response")["content"]["application/problem+json"];
    assert_eq!(refusal["schema"]["$ref"], "#/components/schemas/Problem");
    let schemas = &document["components"]["schemas"];
    let answers = ["Created", "Listed", "TokenGrant", "StreamMetrics", "ServerMetrics", "Problem"];
    for name in answers.into_iter().chain(["CreateRequest", "CompileRequest"]) {
        assert!(schemas[name]["example"].is_object(), "{name} has an example");
    }
    for name in ["Created", "Listed"] {
        let spec = &schemas[name]["example"]["spec"];
        let read = read_spec(spec).map(|(spec, _)| serde_json::to_value(&spec).expect("json"));
        assert_eq!(read.as_ref(), Ok(spec), "the spec in {name}'s example is a normal one");
    }
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
}
