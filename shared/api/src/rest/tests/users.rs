//! Ending the connections of a user.

use super::topics::server;
use super::*;
use bond_core::revocation::{self, Revoked};
use bond_core::topic::Topic;

impl Server {
    /// The users whom edges are told of, in the topic of `user`.
    async fn disconnected(&self, user: &str) -> Revoked {
        let topic = Topic::Published(revocation::topic_of(user).expect("a topic"));
        let state = self.log.state(&topic).await.expect("log").and_then(|found| found.state);
        state.map(|state| revocation::read(&state)).unwrap_or_default()
    }
}

#[tokio::test]
async fn edges_are_told_of_a_user_until_it_is_over() {
    let server = server().await;
    let path = "/v1/users/u1/disconnect";
    let at_once = server.call("POST", path, Body::empty()).await;
    assert_eq!(at_once.json, json!({"user": "u1", "revoked_until": null}), "{at_once:?}");
    assert_eq!(server.disconnected("u1").await["u1"].at, NOW);
    server.clock.advance(Duration::from_secs(1));
    let refused = server.post(path, &json!({"revoke_seconds": 3600})).await;
    let until = NOW.plus(Duration::from_secs(3601));
    assert_eq!(refused.json["revoked_until"], until.to_string(), "{refused:?}");
    let told = server.disconnected("u1").await["u1"];
    assert_eq!((told.at, told.until), (NOW.plus(Duration::from_secs(1)), until));
    let again = server.call("POST", path, Body::empty()).await;
    assert_eq!(again.json["revoked_until"], until.to_string(), "not shortened");
}

#[tokio::test]
async fn a_publisher_alone_disconnects_and_what_is_not_understood_is_refused() {
    let server = server().await;
    for body in [r#"{"revoke_seconds":86401}"#, r#"{"revoke_seconds":-1}"#, r#"{"revoke":1}"#, "[1]", "x"] {
        let refused = server.call("POST", "/v1/users/u1/disconnect", body).await;
        assert_eq!(refused.problem(), (400, "INVALID_MESSAGE"), "{body}");
    }
    let long = format!("/v1/users/{}/disconnect", "x".repeat(129));
    assert_eq!(server.call("POST", &long, Body::empty()).await.problem(), (400, "INVALID_MESSAGE"));
    let (publisher, reader) = (server.key_with("ann", vec![Role::Publisher]), server.key("bob"));
    let (path, body) = ("/v1/users/u1/disconnect", json!({}));
    assert_eq!(server.call_as(&reader, "POST", path, &body).await.problem(), (403, "FORBIDDEN"));
    assert_eq!(server.post(path, &body).await.problem(), (401, "AUTH_REQUIRED"));
    assert!(server.disconnected("u1").await.is_empty());
    assert_eq!(server.call_as(&publisher, "POST", path, &body).await.status, 200);
    assert_eq!(server.disconnected("u1").await.len(), 1);
    let topic = revocation::topic_of("u1").expect("a topic");
    for rest in ["snapshot", "events"] {
        let read = server.call_as(&publisher, "GET", &format!("/v1/topics/{topic}/{rest}"), &body).await;
        assert_eq!(read.problem(), (403, "FORBIDDEN"), "nobody reads it");
    }
    let event = json!({"events": [{"payload": {}}]});
    let written = server.call_as(&publisher, "POST", &format!("/v1/topics/{topic}/events"), &event).await;
    assert_eq!(written.problem(), (403, "FORBIDDEN"), "nobody publishes to it");
}
