//! Against a Secrets Manager of one secret on loopback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::Aws;

const FIRST: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "bond/token-keys";

/// Versions by id, and which of them is current.
#[derive(Default)]
struct Secret {
    versions: BTreeMap<String, String>,
    current: String,
    /// Another rotation comes between reading and promoting.
    is_contended: bool,
}

type Shared = Arc<Mutex<Secret>>;

async fn answer(State(secret): State<Shared>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let request: Value = serde_json::from_str(&body).expect("request");
    assert_eq!(request["SecretId"], NAME);
    let target = headers["x-amz-target"].to_str().expect("target").rsplit('.').next().expect("operation");
    let answer = secret.lock().act(target, &request);
    match answer {
        Ok(answer) => (StatusCode::OK, answer.to_string()),
        Err(kind) => (StatusCode::BAD_REQUEST, json!({ "__type": kind, "Message": "refused" }).to_string()),
    }
}

impl Secret {
    fn act(&mut self, operation: &str, request: &Value) -> Result<Value, &'static str> {
        let argument = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        match operation {
            "GetSecretValue" => {
                let text = self.versions.get(&self.current).ok_or("ResourceNotFoundException")?;
                Ok(json!({ "SecretString": text, "VersionId": self.current }))
            }
            "PutSecretValue" => {
                let id = format!("v{}", self.versions.len());
                self.versions.insert(id.clone(), argument("SecretString"));
                if self.is_contended {
                    self.current = "another".to_owned();
                }
                Ok(json!({ "VersionId": id }))
            }
            "UpdateSecretVersionStage" if argument("RemoveFromVersionId") != self.current => {
                Err("InvalidParameterException")
            }
            "UpdateSecretVersionStage" => {
                assert_eq!(argument("VersionStage"), "AWSCURRENT");
                self.current = argument("MoveToVersionId");
                Ok(json!({}))
            }
            _ => Err("InvalidRequestException"),
        }
    }
}

/// Secrets Manager with this text in the secret; `None`: without the secret.
async fn secrets(text: Option<&str>) -> (Secrets, Shared) {
    let secret = Shared::default();
    if let Some(text) = text {
        let mut secret = secret.lock();
        secret.current = "v0".to_owned();
        secret.versions.insert("v0".to_owned(), text.to_owned());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&secret));
    tokio::spawn(axum::serve(listener, app).into_future());
    (Aws::for_tests(&url).await.secrets(), secret)
}

fn set(current: &str, previous: Option<&str>) -> String {
    json!({ "current": current, "previous": previous }).to_string()
}

#[tokio::test]
async fn a_rotation_makes_a_new_key_and_keeps_issued_tokens_good() {
    let (stream, now) = (StreamId::from_bytes([1; 8]), UnixNanos::from_secs(1_700_000_000));
    let (secrets, _) = secrets(Some(&set(FIRST, None))).await;
    let before = secrets.token_keys(NAME).await.expect("keys");
    let token = before.issue(&stream, now, Duration::from_secs(60));
    secrets.rotate_token_keys(NAME).await.expect("rotated");
    let after = secrets.token_keys(NAME).await.expect("keys");
    assert!(after.verify(&token, &stream, now).is_ok(), "an issued token is still good");
    let new = after.issue(&stream, now, Duration::from_secs(60));
    assert!(before.verify(&new, &stream, now).is_err(), "new ones are of a new key");
    secrets.rotate_token_keys(NAME).await.expect("rotated");
    let last = secrets.token_keys(NAME).await.expect("keys");
    assert!(last.verify(&new, &stream, now).is_ok());
    assert!(last.verify(&token, &stream, now).is_err(), "the first key has gone");
}

#[tokio::test]
async fn a_rotation_that_another_overtook_changes_nothing() {
    let (secrets, secret) = secrets(Some(&set(FIRST, None))).await;
    secret.lock().is_contended = true;
    let overtaken = secrets.rotate_token_keys(NAME).await;
    assert_eq!(overtaken, Err(SecretError::Overtaken(NAME.to_owned())));
    assert_eq!(secret.lock().current, "another", "the other one stands");
}

#[tokio::test]
async fn what_is_no_secret_is_said_without_its_text() {
    use KeySetError::{Form, Short};
    let (short, short_before) = (set("short", None), set(FIRST, Some("short")));
    for (text, reason) in [("not json", Form), ("{}", Form), (&short, Short), (&short_before, Short)] {
        let (secrets, _) = secrets(Some(text)).await;
        assert_eq!(secrets.text(NAME).await.as_deref(), Ok(text));
        let refused = secrets.token_keys(NAME).await.expect_err("no keys");
        assert_eq!(refused, SecretError::NoKeys { name: NAME.to_owned(), reason });
    }
    let (secrets, _) = secrets(None).await;
    let missing = secrets.text(NAME).await.expect_err("missing").to_string();
    assert!(missing.contains(NAME) && missing.contains("ResourceNotFound"), "{missing}");
}
