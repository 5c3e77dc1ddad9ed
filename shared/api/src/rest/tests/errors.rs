//! Every refusal is a problem document that says what to fix.

use super::*;

async fn post_raw(server: &Server, content_type: &str, body: impl Into<Body>) -> Answer {
    let request = request("POST", "/v1/streams").header(header::CONTENT_TYPE, content_type);
    server.send(request.body(body.into()).expect("request")).await
}

#[tokio::test]
async fn broken_json_is_told_with_its_place() {
    let refused = post_raw(&Server::new(), "application/json", "{\n  \"spec\": {,}\n}").await;
    assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"));
    assert!(refused.detail().contains("line 2 column"), "{refused:?}");
}

#[tokio::test]
async fn another_content_type_is_told() {
    let server = Server::new();
    let refused = post_raw(&server, "application/x-www-form-urlencoded", spec("BTC/USDT").to_string()).await;
    assert_eq!(refused.problem(), (415, "INVALID_MESSAGE"));
    assert!(refused.detail().contains("application/json"), "{refused:?}");
    for good in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.bond+json"] {
        assert_eq!(post_raw(&server, good, spec("BTC/USDT").to_string()).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn a_body_over_64_kb_is_refused_however_it_comes() {
    let server = Server::new();
    let body = json!({"natural_language": "x".repeat(64 * 1024)}).to_string();
    assert_eq!(post_raw(&server, "application/json", body.clone()).await.problem(), (413, "TOO_LARGE"));
    let chunks = body
        .into_bytes()
        .chunks(1000)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
        .collect::<Vec<_>>();
    let chunked = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(post_raw(&server, "application/json", chunked).await.problem(), (413, "TOO_LARGE"));
    let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("reset"))]);
    let broken = post_raw(&server, "application/json", Body::from_stream(broken)).await;
    assert_eq!(broken.problem(), (400, "INVALID_MESSAGE"));
    let pad = 64 * 1024 - json!({"natural_language": "BTC price", "pad": ""}).to_string().len();
    let body = json!({"natural_language": "BTC price", "pad": "x".repeat(pad)}).to_string();
    assert_eq!(post_raw(&server, "application/json", body).await.status, 200, "64 KB to the byte are taken");
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_told_apart() {
    let server = Server::new();
    let refused = server.get("/v1/stream").await;
    assert_eq!(refused.problem(), (404, "NOT_FOUND"));
    assert!(refused.detail().contains("/v1/stream"), "{refused:?}");
    let refused = server.call("PUT", "/v1/streams", Body::empty()).await;
    assert_eq!(refused.problem(), (405, "INVALID_MESSAGE"));
    for method in ["GET", "POST"] {
        assert!(refused.header("allow").contains(method), "{refused:?}");
    }
}

#[tokio::test]
async fn a_request_keeps_the_id_it_came_with() {
    let server = Server::new();
    for (given, kept) in [("trace-1.a_B", true), ("JKJaXmPLvHcESHA=", true), ("bad id", false), ("", false)] {
        let request = request("GET", "/nonsense").header("x-request-id", given).body(Body::empty());
        let answer = server.send(request.expect("request")).await;
        assert_eq!(answer.problem(), (404, "NOT_FOUND"));
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
        assert!(!answer.header("x-request-id").is_empty());
    }
    let (one, two) = (server.get("/health").await, server.get("/health").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"), "each request has an id");
}

#[tokio::test]
async fn a_refusal_of_other_routes_becomes_a_problem_too() {
    let server = Server::new();
    let others = Router::new().route("/ws", get(|| async { (StatusCode::UPGRADE_REQUIRED, "upgrade") }));
    let request = request("GET", "/ws").body(Body::empty()).expect("request");
    let response = router(Arc::clone(&server.state), others).oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = to_bytes(response.into_body(), 10_000).await.expect("body");
    let problem: Value = serde_json::from_slice(&body).expect("json");
    assert_eq!((&problem["code"], problem["request_id"].is_string()), (&json!("INVALID_MESSAGE"), true));
}
