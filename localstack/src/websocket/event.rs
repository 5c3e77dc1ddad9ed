//! What functions are told: the events of a WebSocket API's Lambda proxy integration ("Set up Lambda proxy integrations for WebSocket
//! APIs" and "API Gateway WebSocket API mapping template and access logging variable reference", read 2026-11).

use axum::http::HeaderMap;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::Connection;
use crate::id;

/// The API's id in events.
const API_ID: &str = "bondgateway";

/// What the event is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) stage: &'a str,
    /// Virtual Unix milliseconds.
    pub(crate) now_ms: u64,
}

/// `requestContext`, of one request.
pub(crate) fn context(occasion: Occasion<'_>, event_type: &str, route_key: &str) -> Value {
    let Occasion { connection, stage, now_ms } = occasion;
    let request_id = id::request_id();
    json!({
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": request_time(now_ms),
        "messageDirection": "IN",
        "stage": stage,
        "connectedAt": connection.connected_at,
        "requestTimeEpoch": now_ms,
        "identity": {"userAgent": connection.user_agent, "sourceIp": connection.source_ip},
        "requestId": request_id,
        "domainName": connection.domain_name,
        "connectionId": connection.id,
        "apiId": API_ID,
    })
}

/// `$connect`: the only one with the handshake's headers and query.
pub(crate) fn connect(occasion: Occasion<'_>, headers: &HeaderMap, query: Option<&str>) -> Value {
    let mut event = json!({
        "headers": handshake_headers(headers, |values| json!(values.last())),
        "multiValueHeaders": handshake_headers(headers, |values| json!(values)),
        "requestContext": context(occasion, "CONNECT", "$connect"),
        "isBase64Encoded": false,
    });
    // Without a query both members are missing.
    let pairs = query.map(multi_value_query).unwrap_or_default();
    if !pairs.is_empty() {
        let last = |(name, values): (&String, &Vec<String>)| (name.clone(), json!(values.last()));
        event["queryStringParameters"] =
            pairs.iter().map(|(name, values)| last((name, values))).collect::<Map<_, _>>().into();
        event["multiValueQueryStringParameters"] = json!(pairs);
    }
    event
}

/// A message.
pub(crate) fn message(occasion: Occasion<'_>, route_key: &str, body: &str) -> Value {
    let mut context = context(occasion, "MESSAGE", route_key);
    context["messageId"] = id::connection_id().into();
    json!({"requestContext": context, "body": body, "isBase64Encoded": false})
}

/// `$disconnect`.
pub(crate) fn disconnect(occasion: Occasion<'_>, code: u16, reason: &str) -> Value {
    let mut context = context(occasion, "DISCONNECT", "$disconnect");
    context["disconnectStatusCode"] = code.into();
    context["disconnectReason"] = reason.into();
    let headers = json!({"Host": occasion.connection.domain_name, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""});
    json!({"headers": headers, "requestContext": context, "isBase64Encoded": false})
}

/// `21/Nov/2026:12:00:00 +0000`.
pub(crate) fn request_time(unix_ms: u64) -> String {
    let format = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(format).unwrap_or_default()
}

fn multi_value_query(query: &str) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut pairs = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        pairs.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    pairs
}

fn handshake_headers(headers: &HeaderMap, join: impl Fn(&[&str]) -> Value) -> Map<String, Value> {
    // API Gateway consumes these two.
    let passed = headers.keys().filter(|name| !["connection", "upgrade"].contains(&name.as_str()));
    let values =
        |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
    passed.map(|name| (title_case(name.as_str()), join(&values(name)))).collect()
}

/// A header's name as clients usually spell it, and as events show it: functions must not rely on lower case.
fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| match word {
        "websocket" => "WebSocket".to_owned(),
        word => word[..1.min(word.len())].to_uppercase() + word.get(1..).unwrap_or(""),
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_spelt_as_clients_spell_them() {
        assert_eq!(title_case("sec-websocket-protocol"), "Sec-WebSocket-Protocol");
        assert_eq!(title_case("x-api-key"), "X-Api-Key");
    }

    #[test]
    fn request_time_is_in_the_common_log_format() {
        assert_eq!(request_time(1_795_262_400_123), "21/Nov/2026:12:00:00 +0000");
    }

    #[test]
    fn repeated_query_parameters_are_all_kept() {
        let pairs = multi_value_query("a=1&b=x%20y&a=2");
        assert_eq!(json!(pairs), json!({"a": ["1", "2"], "b": ["x y"]}));
    }
}
