//! Against a Secrets Manager of one secret on loopback.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bond_core::time::UnixNanos;
use bond_core::token::WeakSecret;
use bond_core::topic::StreamId;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::Aws;

const FIRST: &str = "0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210";
const NAME: &str = "bond/token-keys";

async fn answer(
    State(secret): State<Option<String>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let request: Value = serde_json::from_str(&body).expect("request");
    assert_eq!(request["SecretId"], NAME);
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    match secret {
        Some(text) => (StatusCode::OK, json!({ "SecretString": text, "VersionId": "v0" }).to_string()),
        None => {
            let refusal = json!({ "__type": "ResourceNotFoundException", "Message": "refused" });
            (StatusCode::BAD_REQUEST, refusal.to_string())
        }
    }
}

/// Secrets Manager with this text in the secret; `None`: without the secret.
async fn secrets(text: Option<&str>) -> Secrets {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let app = Router::new().route("/", post(answer)).with_state(text.map(str::to_owned));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(axum::serve(listener, app).into_future());
    Aws::for_tests(&url).await.secrets()
}

fn set(current: &str, previous: Option<&str>) -> String {
    json!({ "current": current, "previous": previous }).to_string()
}

#[tokio::test]
async fn tokens_of_either_key_are_good_and_new_ones_are_of_the_current() {
    let (stream, now) = (StreamId::from_bytes([1; 8]), UnixNanos::from_secs(1_700_000_000));
    let before = secrets(Some(&set(FIRST, None))).await.token_keys(NAME).await.expect("keys");
    let after = secrets(Some(&set(SECOND, Some(FIRST)))).await.token_keys(NAME).await.expect("keys");
    let issue = |keys: &TokenKeys| keys.issue(&stream, None, now, Duration::from_secs(60));
    assert!(after.verify(&issue(&before), &stream, now).is_ok(), "an issued token is still good");
    assert!(before.verify(&issue(&after), &stream, now).is_err(), "new ones are of the new key");
}

#[tokio::test]
async fn what_is_no_secret_is_said_without_its_text() {
    let (form, weak) = (KeySetError::Form, KeySetError::Weak(WeakSecret::Short));
    let (short, short_before) = (set("short", None), set(FIRST, Some("short")));
    for (text, reason) in [("not json", form), ("{}", form), (&short, weak), (&short_before, weak)] {
        let secrets = secrets(Some(text)).await;
        assert_eq!(secrets.text(NAME).await.as_deref(), Ok(text));
        let refused = secrets.token_keys(NAME).await.expect_err("no keys");
        assert_eq!(refused, SecretError::NoKeys { name: NAME.to_owned(), reason });
    }
    let missing = secrets(None).await.text(NAME).await.expect_err("missing").to_string();
    assert!(missing.contains(NAME) && missing.contains("ResourceNotFound"), "{missing}");
}

#[tokio::test]
async fn a_secret_without_keys_lets_nobody_in_and_a_broken_one_is_told() {
    for empty in ["", " \n", "{}"] {
        let file = secrets(Some(empty)).await.api_keys(NAME).await.expect("no keys yet");
        assert_eq!(file.keys().len(), 0);
    }
    let broken = secrets(Some("{")).await.api_keys(NAME).await.expect_err("broken").to_string();
    assert!(broken.starts_with("secret bond/token-keys: not a key file"), "{broken}");
}

#[tokio::test]
async fn a_password_has_no_end_of_line() {
    assert_eq!(secrets(Some("pass word\n")).await.password(NAME).await, Ok("pass word".to_owned()));
}
