//! Who may call.

use super::*;

#[tokio::test]
async fn without_keys_everybody_on_this_machine_is_the_local_owner() {
    let server = Server::new();
    let request = request("POST", "/v1/streams").header(header::AUTHORIZATION, "Bearer nonsense");
    let made = server.send(request.body(spec("BTC/USDT").to_string().into()).expect("request")).await;
    assert_eq!(made.status, 200, "an Authorization header is ignored: {made:?}");
    let claims = server.state.store.list("local", None, 10, NOW).await.expect("list");
    assert_eq!(claims.len(), 1);
}

#[tokio::test]
async fn without_keys_a_web_page_of_another_origin_gets_nothing() {
    let server = Server::new();
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example:8000")]
    {
        for path in ["/v1/streams", "/health", "/metrics", "/nonsense"] {
            let mut request = request("GET", path).body(Body::empty()).expect("request");
            request.headers_mut().insert(name, value.parse().expect("value"));
            assert_eq!(server.send(request).await.problem(), (403, "FORBIDDEN"), "{name}: {value} {path}");
        }
    }
    let without_host = Request::builder().uri("/health").body(Body::empty()).expect("request");
    assert_eq!(server.send(without_host).await.problem(), (403, "FORBIDDEN"));
    let two_hosts = request("GET", "/health").header(header::HOST, "evil.example").body(Body::empty());
    assert_eq!(server.send(two_hosts.expect("request")).await.problem(), (403, "FORBIDDEN"));
    let own_page =
        request("GET", "/v1/streams").header(header::ORIGIN, "http://127.0.0.1:8000").body(Body::empty());
    assert_eq!(server.send(own_page.expect("request")).await.status, 200);
}

#[tokio::test]
async fn beyond_loopback_keys_are_required_even_where_there_are_none() {
    let server = Server::with(false, |_| {});
    assert_eq!(server.get("/v1/streams").await.problem(), (401, "AUTH_REQUIRED"));
    assert_eq!(server.get("/health").await.status, 200, "health is nobody's secret");
}

#[tokio::test]
async fn with_keys_each_owner_sees_their_own() {
    let server = Server::new();
    let (ann, bob) = (server.key("ann"), server.key("bob"));
    let made = server.call_as(&ann, "POST", "/v1/streams", &spec("BTC/USDT")).await;
    assert_eq!(made.status, 200, "{made:?}");
    let path = format!("/v1/streams/{}", made.json["stream_id"].as_str().expect("id"));
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/token")),
        ("GET", format!("{path}/metrics")),
    ] {
        let refused = server.call_as(&bob, method, &path, &json!({})).await;
        assert_eq!(refused.problem(), (404, "NOT_FOUND"), "{method} {path}");
    }
    assert_eq!(server.call_as(&bob, "GET", "/v1/streams", &json!({})).await.json, json!([]));
    let joined = server.call_as(&bob, "POST", "/v1/streams", &spec("BTC/USDT")).await;
    assert_eq!(joined.json["created"], false, "two owners share a stream");
    server.commands();
    assert_eq!(server.call_as(&ann, "DELETE", &path, &json!({})).await.status, 200);
    assert_eq!(server.commands(), [], "it lives on for the other");
    assert_eq!(server.call_as(&bob, "GET", &path, &json!({})).await.status, 200);
}

#[tokio::test]
async fn with_keys_a_call_needs_a_good_one() {
    let server = Server::new();
    server.key("ann");
    let refused = server.get("/v1/streams").await;
    assert_eq!(refused.problem(), (401, "AUTH_REQUIRED"));
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    let unknown = ApiKey::from_random([9; 32]);
    let refused = server.call_as(&unknown, "POST", "/v1/streams", &spec("BTC/USDT")).await;
    assert_eq!(refused.problem(), (401, "AUTH_INVALID"));
    assert!(!refused.text.contains(unknown.expose()), "a key is not echoed");
    assert_eq!(
        server.call_as(&unknown, "POST", "/v1/compile", &json!({})).await.problem(),
        (401, "AUTH_INVALID")
    );
}
