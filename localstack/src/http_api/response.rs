//! Responses in payload format 2.0 ("Create AWS Lambda proxy integrations for HTTP APIs", read 2026-11).

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    status_code: u16,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The response that a function's payload stands for; none: it is malformed.
pub(super) fn from_payload(payload: Bytes) -> Option<Response> {
    let value: Value = serde_json::from_slice(&payload).ok()?;
    if value.get("statusCode").is_some() {
        structured(serde_json::from_value(value).ok()?)
    } else {
        inferred(payload)
    }
}

/// Valid JSON without a `statusCode` is the body of a 200.
fn inferred(payload: Bytes) -> Option<Response> {
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(payload)).ok()
}

fn structured(answer: Structured) -> Option<Response> {
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status_code).ok()?);
    let headers = answer.headers.unwrap_or_default();
    let typed = headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    for (name, value) in &headers {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        response = response.header(name, value);
    }
    if !typed {
        response = response.header(header::CONTENT_TYPE, "text/plain;charset=UTF-8");
    }
    for cookie in answer.cookies.unwrap_or_default() {
        response = response.header(header::SET_COOKIE, cookie);
    }
    let body = answer.body.unwrap_or_default();
    let body = if answer.is_base64_encoded { STANDARD.decode(body).ok()? } else { body.into_bytes() };
    response.body(Body::from(body)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(payload: &str) -> Option<(u16, Vec<(String, String)>, String)> {
        let (parts, body) = from_payload(Bytes::from(payload.to_owned()))?.into_parts();
        let body = axum::body::to_bytes(body, 1000).await.unwrap();
        let headers =
            parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        Some((parts.status.as_u16(), headers.collect(), String::from_utf8(body.to_vec()).unwrap()))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_structured_response_is_taken_at_its_word() {
        let payload = r#"{"statusCode": 201, "headers": {"Content-Type": "a/b"}, "cookies": ["c=1", "d=2"],
            "body": "aGk=", "isBase64Encoded": true}"#;
        let headers = pairs(&[("content-type", "a/b"), ("set-cookie", "c=1"), ("set-cookie", "d=2")]);
        assert_eq!(read(payload).await, Some((201, headers, "hi".to_owned())));
    }

    #[tokio::test]
    async fn json_without_a_status_is_the_body_of_a_200() {
        let headers = pairs(&[("content-type", "application/json")]);
        assert_eq!(read(r#"{"a": 1}"#).await, Some((200, headers, r#"{"a": 1}"#.to_owned())));
    }

    #[tokio::test]
    async fn what_is_neither_is_malformed() {
        assert_eq!(read("not json").await, None);
        assert_eq!(read(r#"{"statusCode": "x"}"#).await, None);
    }
}
