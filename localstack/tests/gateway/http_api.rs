//! The HTTP API.

use serde_json::{Value, json};

use crate::support::{Gateway, probe};

#[tokio::test]
async fn a_request_reaches_the_function_and_its_response_the_client() {
    let gateway = Gateway::start(json!({})).await;
    let request = gateway
        .request("PUT", "/v1/streams/a?x=1")
        .header("X-One", "b")
        .header("content-type", "application/json");
    let response = request.body(r#"{"status": 201}"#).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (201, &"text/plain;charset=UTF-8".parse().unwrap())
    );
    let event: Value = response.json().await.unwrap();
    assert_eq!(
        (&event["version"], &event["rawPath"], &event["rawQueryString"]),
        (&json!("2.0"), &json!("/v1/streams/a"), &json!("x=1"))
    );
    assert_eq!((&event["headers"]["x-one"], &event["body"]), (&json!("b"), &json!(r#"{"status": 201}"#)));
    assert_eq!(event["requestContext"]["http"]["method"], "PUT");
}

#[tokio::test]
async fn json_without_a_status_is_the_body() {
    let gateway = Gateway::start(json!({})).await;
    let response = gateway.request("GET", "/?do=malformed").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert_eq!(response.json::<Value>().await.unwrap(), json!({"nothing": "of a response"}));
}

#[tokio::test]
async fn a_function_that_fails_is_an_internal_error_without_a_reason() {
    let gateway = Gateway::start(json!({"functions": {"probe": probe(json!({"timeout_ms": 500}))}})).await;
    for order in ["fail", "exit", "sleep_ms=60000"] {
        let response = gateway.request("GET", &format!("/?do={order}&{order}")).send().await.unwrap();
        assert_eq!(response.status(), 500, "{order}");
        assert_eq!(response.json::<Value>().await.unwrap(), json!({"message": "Internal Server Error"}));
    }
}

#[tokio::test]
async fn a_request_has_at_most_10_mb() {
    let gateway = Gateway::start(json!({})).await;
    let of = async |bytes: usize| {
        let request =
            gateway.request("POST", "/").header("content-type", "text/plain").body("x".repeat(bytes));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(of(10 * 1024 * 1024 + 1).await, 413);
    // Lambda refuses what API Gateway would still pass on.
    assert_eq!(of(7 * 1024 * 1024).await, 500);
}

#[tokio::test]
async fn without_a_function_nothing_is_found() {
    let gateway = Gateway::start(json!({"http": null})).await;
    assert_eq!(gateway.request("GET", "/v1/streams").send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_route_of_its_own_has_its_own_limit() {
    let limits = json!({"$default": {"rate": 1, "burst": 2}, "GET /ready": {"rate": 1, "burst": 1}});
    let gateway = Gateway::start(json!({"throttles": {"rest": limits}})).await;
    let status = async |path| gateway.request("GET", path).send().await.unwrap().status().as_u16();
    assert_eq!((status("/ready").await, status("/ready").await), (200, 429));
    assert_eq!((status("/a").await, status("/b").await, status("/c").await), (200, 200, 429));
    let refused = gateway.request("GET", "/ready").send().await.unwrap();
    assert_eq!(refused.json::<serde_json::Value>().await.unwrap(), json!({"message": "Too Many Requests"}));
}
