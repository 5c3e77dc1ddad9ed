//! Which integration a message goes to, and what comes of it.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::event::{self, Occasion};
use super::proxy::ProxyResponse;
use super::{Connection, INTEGRATION, template};
use crate::config::Config;
use crate::gateway::Gateway;

/// Where a message goes.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    /// A function; its reply reaches the client if the route has a route response.
    Function { key: &'a str, name: &'a str, replies: bool },
    /// A MOCK integration.
    Mock { key: &'a str, template: &'a str },
    /// No route matches, and there is no `$default`.
    None,
}

/// Evaluates the route selection expression ("Route selection expressions", read 2026-11): what it does not find, or finds no route
/// for, goes to `$default`.
fn select<'a>(config: &'a Config, message: &str) -> Route<'a> {
    let value = selected(&config.route_selection_expression, message);
    // A message must not name the predefined routes.
    let named = value.as_deref().filter(|key| !key.starts_with('$'));
    named
        .and_then(|key| integration(config, key))
        .or_else(|| integration(config, "$default"))
        .unwrap_or(Route::None)
}

fn selected(expression: &str, message: &str) -> Option<String> {
    let path = expression.strip_prefix("$request.body.")?;
    let message: Value = serde_json::from_str(message).ok()?;
    let value = path.split('.').try_fold(&message, |value, member| value.get(member))?;
    value.as_str().map(str::to_owned)
}

fn integration<'a>(config: &'a Config, key: &str) -> Option<Route<'a>> {
    let mock = config.mock_routes.get_key_value(key).map(|(key, template)| Route::Mock { key, template });
    mock.or_else(|| {
        let (key, name) = config.routes.get_key_value(key)?;
        Some(Route::Function { key, name, replies: config.route_responses.contains(key) })
    })
}

impl Route<'_> {
    /// Its key; none where there is no route.
    const fn key(&self) -> Option<&str> {
        match self {
            Self::Function { key, .. } | Self::Mock { key, .. } => Some(key),
            Self::None => None,
        }
    }
}

/// Handles one message. Several of one client may be handled at once, and their replies come in any order.
pub(crate) async fn handle(gateway: Arc<Gateway>, connection: Arc<Connection>, message: String) {
    let occasion =
        Occasion { connection: &connection, stage: &gateway.config.stage, now_ms: gateway.clock.now_ms() };
    let route = select(&gateway.config, &message);
    let is_admitted = route.key().is_none_or(|key| gateway.admits(&gateway.web_socket_throttle, key));
    let refusal = |message: &str| {
        let request_id = &event::context(occasion, "MESSAGE", route.key().unwrap_or("$default"))["requestId"];
        Some(failure(message, &connection.id, request_id))
    };
    let reply = match route {
        // As users report; the documentation names the status of requests alone.
        _ if !is_admitted => refusal("Too Many Requests"),
        Route::Mock { key, template } => {
            Some(template::render(template, &event::context(occasion, "MESSAGE", key)).into())
        }
        Route::Function { key, name, replies } => {
            let event = event::message(occasion, key, &message);
            let request_id = event["requestContext"]["requestId"].clone();
            match invoke(&gateway, name, &event).await {
                Some(response) => replies.then(|| response.body()).flatten(),
                None => Some(failure("Internal server error", &connection.id, &request_id)),
            }
        }
        Route::None => refusal("Forbidden"),
    };
    if let Some(reply) = reply {
        // A client that is gone or does not read gets no reply.
        let _ = connection.push(reply, gateway.clock.now_ms());
    }
}

/// What a client gets where there is no integration, or it has failed; whether or not the route has a route response.
fn failure(message: &str, connection_id: &str, request_id: &Value) -> Bytes {
    json!({"message": message, "connectionId": connection_id, "requestId": request_id}).to_string().into()
}

/// Invokes a route's function; none: it failed, took too long, or answered what is not a response.
pub(crate) async fn invoke(gateway: &Gateway, name: &str, event: &Value) -> Option<ProxyResponse> {
    let function = gateway.lambda.function(name)?;
    let payload = Bytes::from(event.to_string());
    // Once too often at most; one that finds no free concurrency waits, and so may also come late.
    let _ = function.enqueue(&payload, gateway.times_invoked(&function) - 1);
    let answer = tokio::time::timeout(INTEGRATION, function.invoke(payload)).await;
    ProxyResponse::parse(&answer.ok()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(default: bool) -> Config {
        let routes = if default { r#"{"sub": "f", "$default": "g"}"# } else { r#"{"sub": "f"}"# };
        let text = format!(
            r#"{{"stage": "v1", "functions": {{}}, "routes": {routes}, "mock_routes": {{"ping": "pong"}},
                "route_responses": ["$default"], "route_selection_expression": "$request.body.a.b"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_message_goes_to_the_route_that_it_names() {
        let config = config(true);
        let named = Route::Function { key: "sub", name: "f", replies: false };
        assert_eq!(select(&config, r#"{"a": {"b": "sub"}}"#), named);
        assert_eq!(select(&config, r#"{"a": {"b": "ping"}}"#), Route::Mock { key: "ping", template: "pong" });
    }

    #[test]
    fn everything_else_goes_to_the_default_route() {
        let config = config(true);
        for message in [r#"{"a": {"b": "other"}}"#, r#"{"a": 1}"#, "not json", r#"{"a": {"b": "$connect"}}"#]
        {
            assert_eq!(
                select(&config, message),
                Route::Function { key: "$default", name: "g", replies: true },
                "{message}"
            );
        }
    }

    #[test]
    fn without_a_default_route_there_may_be_none() {
        assert_eq!(select(&config(false), "not json"), Route::None);
    }
}
