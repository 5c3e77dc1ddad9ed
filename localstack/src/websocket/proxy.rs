//! What functions answer: the response of a Lambda proxy integration.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A response. One without a status is malformed, and the integration has failed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyResponse {
    #[serde(deserialize_with = "status")]
    pub(crate) status_code: StatusCode,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    is_base64_encoded: bool,
}

fn status<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<StatusCode, D::Error> {
    StatusCode::from_u16(u16::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl ProxyResponse {
    /// Reads one; none where it is malformed.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// A header, whatever the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().flatten();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
    }

    /// The body's bytes, unless it is missing or empty.
    pub(crate) fn body(self) -> Option<Bytes> {
        let body = self.body.filter(|body| !body.is_empty())?;
        if self.is_base64_encoded {
            STANDARD.decode(body).ok().map(Bytes::from)
        } else {
            Some(Bytes::from(body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_without_a_status_is_malformed() {
        assert!(ProxyResponse::parse(br#"{"body": "x"}"#).is_none());
        assert!(ProxyResponse::parse(b"null").is_none());
        assert!(ProxyResponse::parse(br#"{"statusCode": 200}"#).is_some());
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let response =
            ProxyResponse::parse(br#"{"statusCode": 200, "headers": {"sec-websocket-Protocol": "a"}}"#)
                .unwrap();
        assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("a"));
    }

    #[test]
    fn a_base64_body_is_decoded() {
        let response =
            ProxyResponse::parse(br#"{"statusCode": 200, "body": "aGk=", "isBase64Encoded": true}"#).unwrap();
        assert_eq!(response.body(), Some(Bytes::from("hi")));
    }
}
