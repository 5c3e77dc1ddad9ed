//! What API Gateway's WebSocket routes hand to a function, and what it answers.

use std::collections::BTreeMap;

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use bond_api::problem::{PROBLEM_TYPE, Problem};
use bond_core::connection::{ConnectionId, Parameters};
use bond_core::time::UnixNanos;
use lambda_runtime::Diagnostic;
use serde::Serialize;

/// An event of a WebSocket route, as API Gateway sends it.
pub type WebSocketEvent = ApiGatewayWebsocketProxyRequest;

/// Why an event cannot be used: it is none of a WebSocket route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an event of a WebSocket route: no {0}; integrate the function with a WebSocket API as AWS_PROXY"
)]
pub struct EventError(&'static str);

impl From<EventError> for Diagnostic {
    fn from(error: EventError) -> Self {
        Self { error_type: "EventError".to_owned(), error_message: error.to_string() }
    }
}

/// Whose event it is, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The connection.
    pub connection: ConnectionId,
    /// When the request was made, by API Gateway's clock.
    pub at: UnixNanos,
    /// API Gateway's name of the request.
    pub request_id: String,
}

impl Origin {
    /// That of an event.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn of(event: &WebSocketEvent) -> Result<Self, EventError> {
        let context = &event.request_context;
        let connection = context.connection_id.as_deref().ok_or(EventError("connectionId"))?;
        Ok(Self {
            connection: ConnectionId::new(connection),
            at: UnixNanos::from_millis(context.request_time_epoch),
            request_id: context.request_id.clone().unwrap_or_default(),
        })
    }

    /// What its log lines carry.
    pub fn span(&self, route: &'static str) -> tracing::Span {
        let Self { connection, request_id, .. } = self;
        tracing::info_span!("websocket", route, connection_id = %connection, gateway_request_id = request_id)
    }
}

/// The query of an event. Names that come again are all there.
pub fn parameters(event: &WebSocketEvent) -> Parameters {
    let multiple = &event.multi_value_query_string_parameters;
    let query = if multiple.is_empty() { &event.query_string_parameters } else { multiple };
    Parameters::new(query.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// What a function answers on a WebSocket route. On `$connect` the status says whether the client is let in, and API Gateway passes on no
/// body; elsewhere the body, if there is one, is sent to the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status.
    pub status_code: u16,
    /// Headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<&'static str, String>,
    /// The body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl Answer {
    /// Done, with nothing to say.
    pub const fn done() -> Self {
        Self { status_code: 200, headers: BTreeMap::new(), body: None }
    }

    /// Done, with this to say to the client.
    pub fn saying(body: Option<String>) -> Self {
        Self { body, ..Self::done() }
    }

    /// Refused or failed.
    pub fn problem(problem: Problem, request_id: &str) -> Self {
        let problem = problem.with_request_id(request_id);
        let status_code = problem.http_status().as_u16();
        let headers = BTreeMap::from([("content-type", PROBLEM_TYPE.to_owned())]);
        Self { status_code, headers, body: Some(problem.to_json()) }
    }
}
