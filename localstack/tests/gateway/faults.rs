//! Faults on demand.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Gateway, eventually, send, text};

#[tokio::test]
async fn posts_are_refused_as_often_as_was_asked_for() {
    let gateway = Gateway::start(json!({"seed": 1})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    gateway.faults(json!({"quota_429": 0.2, "slow_429": 0.2})).await;
    for _ in 0..100 {
        gateway.post(&id, "a").await;
    }
    let posts = gateway.stats().await["posts"].clone();
    let count = |outcome: &str| posts[outcome].as_u64().unwrap();
    assert!((10..=30).contains(&count("quota")) && (6..=30).contains(&count("slow")), "{posts}");
    for _ in 0..count("accepted") {
        text(&mut socket).await;
    }
    gateway.faults(json!({})).await;
    assert_eq!(gateway.post(&id, "a").await.0, 200);
}

#[tokio::test]
async fn posts_under_way_together_are_delivered_in_another_order() {
    let gateway = Gateway::start(json!({"seed": 1, "post_ms": 200})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    gateway.faults(json!({"reorder": true})).await;
    let mut posts = Vec::new();
    for number in 0..20 {
        posts.push(tokio::spawn(gateway.connection("POST", &id).body(number.to_string()).send()));
        // A round trip, so that they arrive in order.
        gateway.stats().await;
    }
    for post in join_all(posts).await {
        assert_eq!(post.unwrap().unwrap().status(), 200);
    }
    let mut received = Vec::new();
    for _ in 0..20 {
        received.push(text(&mut socket).await.parse::<u32>().unwrap());
    }
    // Timers alone may swap neighbours; about half of all steps go down where the order is another one.
    let steps_down = received.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(steps_down >= 5, "{received:?}");
    received.sort_unstable();
    assert_eq!(received, (0..20).collect::<Vec<u32>>());
}

#[tokio::test]
async fn one_post_after_the_other_is_never_reordered() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    gateway.faults(json!({"reorder": true})).await;
    for number in 0..20 {
        gateway.post(&id, number.to_string()).await;
        assert_eq!(text(&mut socket).await, number.to_string());
    }
}

#[tokio::test]
async fn a_lost_disconnect_is_told_to_nobody() {
    let gateway = Gateway::start(json!({})).await;
    gateway.faults(json!({"lose_disconnect": 1.0})).await;
    drop(gateway.connect().await);
    let closed = async || (gateway.stats().await["connections"]["closed"] == 1).then_some(());
    eventually("the end", closed).await;
    assert_eq!(gateway.stats().await["functions"]["probe"]["invocations"], 1);
}

#[tokio::test]
async fn a_connect_may_take_longer_than_its_function() {
    let gateway = Gateway::start(json!({})).await;
    gateway.faults(json!({"connect_delay_ms": 1000})).await;
    let told = async {
        let events = gateway.events_once(|events| events.len() == 1).await;
        let id = events[0]["requestContext"]["connectionId"].as_str().unwrap().to_owned();
        let asked = gateway.connection("GET", &id).send().await.unwrap().status().as_u16();
        (gateway.post(&id, "a").await.0, asked, id)
    };
    let (mut socket, (posted, asked, id)) = tokio::join!(gateway.connect(), told);
    assert_eq!((posted, asked), (410, 410));
    assert_eq!(gateway.post(&id, "b").await.0, 200);
    assert_eq!(text(&mut socket).await, "b");
}

#[tokio::test]
async fn invocations_that_nobody_waits_for_alone_may_happen_twice() {
    let gateway = Gateway::start(json!({"route_responses": ["$default"]})).await;
    let mut socket = gateway.connect().await;
    gateway.faults(json!({"duplicate_invocations": 1.0})).await;
    send(&mut socket, "once").await;
    let of_message = |events: &[Value]| events.iter().filter(|event| event["body"] == "once").count() == 2;
    let events = gateway.events_once(of_message).await;
    // The same request, not another one.
    let ids: Vec<&Value> = events[1..].iter().map(|event| &event["requestContext"]["requestId"]).collect();
    assert_eq!(ids[0], ids[1]);
    text(&mut socket).await;
    send(&mut socket, r#"{"type": "ping"}"#).await;
    assert!(text(&mut socket).await.contains("pong"), "one reply, though the function ran twice");
    gateway
        .invocation("probe")
        .header("x-amz-invocation-type", "Event")
        .body(r#"{"n": 1}"#)
        .send()
        .await
        .unwrap();
    gateway.events_once(|events| events.iter().filter(|event| event["n"] == 1).count() == 2).await;
    gateway.invoke("probe", json!({"n": 2})).await;
    assert_eq!(gateway.events().await.iter().filter(|event| event["n"] == 2).count(), 1);
}

#[tokio::test]
async fn a_function_dies_after_so_many_posts() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    gateway.faults(json!({"die_midway": {"function": "probe", "after_posts": 3}})).await;
    let order = json!({"do": "post", "connection": id, "times": 5});
    let response = gateway.invoke("probe", order.clone()).await;
    assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
    let error: Value = response.json().await.unwrap();
    assert!(error["errorMessage"].as_str().unwrap().contains("signal: 9"), "{error}");
    for number in 1..=3 {
        assert_eq!(text(&mut socket).await, number.to_string());
    }
    // It dies once; the next one is whole, and begins at its first post.
    let second: Value = gateway.invoke("probe", order).await.json().await.unwrap();
    assert_eq!(second["statuses"], json!([200, 200, 200, 200, 200]));
    assert_eq!(text(&mut socket).await, "1");
}

#[tokio::test]
async fn posts_are_counted_for_each_invocation() {
    let gateway = Gateway::start(json!({})).await;
    let _socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    gateway.faults(json!({"die_midway": {"function": "probe", "after_posts": 3}})).await;
    for _ in 0..2 {
        let response = gateway.invoke("probe", json!({"do": "post", "connection": id, "times": 2})).await;
        assert_eq!(response.headers().get("x-amz-function-error"), None);
    }
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused() {
    let gateway = Gateway::start(json!({})).await;
    for plan in [json!({"quota_429": 2}), json!({"quota_430": 1})] {
        let response = gateway.request("PUT", "/_admin/faults").json(&plan).send().await.unwrap();
        assert!(response.status().is_client_error(), "{plan}");
    }
}
