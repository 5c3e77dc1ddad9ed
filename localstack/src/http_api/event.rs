//! Requests in payload format 2.0 ("Create AWS Lambda proxy integrations for HTTP APIs", read 2026-11).

use std::collections::BTreeMap;

use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::id;
use crate::websocket::request_time;

/// The API's id in events.
const API_ID: &str = "bondgateway";

/// The event of a request.
pub(super) fn request(parts: &Parts, body: &[u8], source_ip: &str, now_ms: u64) -> Value {
    let query = parts.uri.query().unwrap_or("");
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": decoded(parts.uri.path()),
        "rawQueryString": query,
        "headers": headers(&parts.headers, source_ip),
        "requestContext": context(parts, source_ip, now_ms),
        "isBase64Encoded": false,
    });
    // Members without content are missing, not empty.
    let cookies = cookies(&parts.headers);
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    let parameters = parameters(query);
    if !parameters.is_empty() {
        event["queryStringParameters"] = json!(parameters);
    }
    if !body.is_empty() {
        let (text, encoded) = encode(&parts.headers, body);
        event["body"] = text.into();
        event["isBase64Encoded"] = encoded.into();
    }
    event
}

fn context(parts: &Parts, source_ip: &str, now_ms: u64) -> Value {
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let host = text(header::HOST);
    json!({
        "accountId": "000000000000",
        "apiId": API_ID,
        "domainName": host,
        "domainPrefix": host.split('.').next(),
        "http": {
            "method": parts.method.as_str(),
            "path": decoded(parts.uri.path()),
            "protocol": format!("{:?}", parts.version),
            "sourceIp": source_ip,
            "userAgent": text(header::USER_AGENT),
        },
        "requestId": id::request_id(),
        "routeKey": "$default",
        "stage": "$default",
        "time": request_time(now_ms),
        "timeEpoch": now_ms,
    })
}

/// Names in lower case, repeated ones joined by commas; cookies have a member of their own.
fn headers(headers: &HeaderMap, source_ip: &str) -> Map<String, Value> {
    let joined = |name| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(",")
    };
    let hidden = [header::COOKIE, header::CONNECTION, header::TRANSFER_ENCODING];
    let passed = headers.keys().filter(|name| !hidden.contains(name));
    let mut headers: Map<_, _> = passed.map(|name| (name.to_string(), joined(name).into())).collect();
    headers.insert("x-forwarded-for".to_owned(), source_ip.into());
    headers.insert("x-forwarded-proto".to_owned(), "https".into());
    headers.insert("x-forwarded-port".to_owned(), "443".into());
    headers
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).map(|cookie| cookie.trim().to_owned()).collect()
}

/// Decoded, repeated ones joined by commas.
fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::<String, String>::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let slot = parameters.entry(name.into_owned());
        slot.and_modify(|values| *values = format!("{values},{value}")).or_insert_with(|| value.to_string());
    }
    parameters
}

/// Bodies of textual types go as they are, others as base64.
fn encode(headers: &HeaderMap, body: &[u8]) -> (String, bool) {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let textual = ["text/", "application/json", "application/xml", "application/javascript"];
    let text =
        textual.iter().any(|start| kind.starts_with(start)).then(|| std::str::from_utf8(body).ok()).flatten();
    text.map_or_else(|| (STANDARD.encode(body), true), |text| (text.to_owned(), false))
}

/// `rawPath` is the decoded path, in spite of its name, and ends before a decoded `?`: AWS does not document it, captures of live events
/// show it.
fn decoded(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split('?').next().unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn event(request: axum::http::request::Builder, body: &[u8]) -> Value {
        super::request(&request.body(()).unwrap().into_parts().0, body, "10.0.0.1", 0)
    }

    #[test]
    fn repeated_headers_and_parameters_are_joined_and_cookies_are_apart() {
        let request = Request::get("/v1/a%20b+c%3Fd?x=1&y=%20&x=2")
            .header("X-One", "a")
            .header("X-One", "b")
            .header("Cookie", "c=1; d=2")
            .header("Host", "api.example.com");
        let event = event(request, b"");
        assert_eq!(event["rawPath"], "/v1/a b+c");
        assert_eq!(event["rawQueryString"], "x=1&y=%20&x=2");
        assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": " "}));
        assert_eq!(event["headers"]["x-one"], "a,b");
        assert_eq!(event["cookies"], json!(["c=1", "d=2"]));
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["requestContext"]["http"]["method"], "GET");
        assert_eq!(event["requestContext"]["http"]["protocol"], "HTTP/1.1");
        assert_eq!(event["requestContext"]["domainPrefix"], "api");
    }

    #[test]
    fn members_without_content_are_missing() {
        let event = event(Request::get("/"), b"");
        assert_eq!(
            (event.get("body"), event.get("cookies"), event.get("queryStringParameters")),
            (None, None, None)
        );
    }

    #[test]
    fn a_body_is_text_or_base64_by_its_type() {
        let of_type = |kind: &str| {
            let event = event(Request::post("/").header("content-type", kind), b"{}");
            (event["body"].clone(), event["isBase64Encoded"].clone())
        };
        assert_eq!(of_type("application/json; charset=utf-8"), (json!("{}"), json!(false)));
        assert_eq!(of_type("application/octet-stream"), (json!("e30="), json!(true)));
    }
}
