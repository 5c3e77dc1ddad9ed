//! What of `@connections` is rare, through AWS's SDK: to end a connection, and to ask whether there is one.

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::Builder;
use aws_sdk_apigatewaymanagement::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use bond_core::connection::ConnectionId;
use http::StatusCode;

use super::forbidden;

/// The SDK's client of one WebSocket API. It sends every request once.
pub(super) struct Management(Client);

impl Management {
    /// For the API whose `@connections` are below `base`, whatever endpoint the environment names.
    pub(super) fn new(config: &SdkConfig, base: &str) -> Self {
        let config = Builder::from(config).endpoint_url(base).retry_config(RetryConfig::disabled());
        Self(Client::from_conf(config.build()))
    }

    /// Ends a connection. It may have ended before.
    pub(super) async fn close(&self, connection: &ConnectionId) {
        let request = self.0.delete_connection().connection_id(connection.as_str());
        match request.send().await {
            Err(error) if status(&error) != Some(StatusCode::GONE) => report(connection, &error),
            _ => {}
        }
    }

    /// Whether there is such a connection; `None` where the answer does not say.
    pub(super) async fn is_open(&self, connection: &ConnectionId) -> Option<bool> {
        match self.0.get_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => Some(true),
            Err(error) => (status(&error)? == StatusCode::GONE).then_some(false),
        }
    }
}

/// What was answered. An error's name is not looked at: emulators leave it out.
fn status<E>(error: &SdkError<E>) -> Option<StatusCode> {
    StatusCode::from_u16(error.raw_response()?.status().as_u16()).ok()
}

fn report<E>(connection: &ConnectionId, error: &SdkError<E>)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if status(error) == Some(StatusCode::FORBIDDEN) {
        forbidden(connection, error.code().unwrap_or_default(), error.message().unwrap_or_default());
    } else {
        tracing::warn!(%connection, error = %DisplayErrorContext(error), "cannot close connection");
    }
}
