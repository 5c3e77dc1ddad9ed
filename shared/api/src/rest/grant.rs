//! What opens a stream: a token, and the URL it goes into.

use axum::http::HeaderMap;
use axum::http::header;
use axum::http::uri::Authority;
use bond_core::topic::StreamId;
use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use super::{RestSettings, RestState, UrlForm};
use crate::auth::Caller;

/// What opens a stream, or a feed.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "token": "v1.6017ea4e.1700003600.AIhy_5etyabE",
    "ws_url": "ws://localhost:8080/ws/9f86d081884c7d65?token=v1.6017ea4e.1700003600.AIhy_5etyabE",
    "expires_in_sec": 3600
})))]
pub(super) struct TokenGrant {
    /// A new token; earlier ones stay good until they expire.
    pub(super) token: String,
    /// The WebSocket, token included.
    pub(super) ws_url: String,
    /// How long the token is good, in seconds.
    pub(super) expires_in_sec: u64,
}

/// A new token for a stream, good from now on, as got by `caller`.
pub(super) fn grant(state: &RestState, caller: &Caller, headers: &HeaderMap, id: &StreamId) -> TokenGrant {
    let token = state.tokens.issue(id, key_of(caller), state.clock.now(), state.settings.token_ttl);
    let rest = match state.settings.url_form {
        UrlForm::Path => format!("/ws/{id}?token={token}"),
        UrlForm::Query => format!("?stream={id}&token={token}"),
    };
    granted(state, headers, token, &rest)
}

/// A new token for feeds, as [`grant`].
pub(super) fn grant_for_feeds(state: &RestState, caller: &Caller, headers: &HeaderMap) -> TokenGrant {
    let token = state.tokens.issue_for_feeds(key_of(caller), state.clock.now(), state.settings.token_ttl);
    let rest = match state.settings.url_form {
        UrlForm::Path => format!("/stream?token={token}"),
        UrlForm::Query => format!("?mode=feed&token={token}"),
    };
    granted(state, headers, token, &rest)
}

fn granted(state: &RestState, headers: &HeaderMap, token: String, rest: &str) -> TokenGrant {
    let ws_url = format!("{}{rest}", ws_base(&state.settings, headers));
    TokenGrant { token, ws_url, expires_in_sec: state.settings.token_ttl.as_secs() }
}

fn key_of(caller: &Caller) -> Option<&str> {
    caller.holder.as_ref().map(|holder| holder.key.as_str())
}

/// What WebSocket URLs begin with: the host by which the client reached us, unless a setting names another. What a proxy says of itself
/// (`X-Forwarded-Proto` and the like) is not believed, as any client can say it.
fn ws_base(settings: &RestSettings, headers: &HeaderMap) -> String {
    match &settings.ws_host {
        Some(base) if base.contains("://") => base.trim_end_matches('/').to_owned(),
        Some(host) if has_port(host) => format!("ws://{host}"),
        Some(host) => format!("ws://{host}:{}", settings.ws_port),
        None => format!("ws://{}:{}", request_host(headers), settings.ws_port),
    }
}

fn has_port(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| authority.port().is_some())
}

fn request_host(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.map_or_else(|| "localhost".to_owned(), |authority| authority.host().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;

    use super::*;

    fn url(ws_host: Option<&str>, host: Option<&str>) -> String {
        let settings = RestSettings {
            max_streams: 1,
            per_second: 50,
            open_metrics: false,
            token_ttl: Duration::ZERO,
            ws_host: ws_host.map(str::to_owned),
            ws_port: 8080,
            url_form: UrlForm::Path,
            allow_private_sources: false,
            venues: [].into(),
        };
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("header"));
        }
        ws_base(&settings, &headers)
    }

    #[test]
    fn the_host_is_the_requests_unless_set() {
        for (ws_host, host, base) in [
            (None, Some("localhost:8000"), "ws://localhost:8080"),
            (None, Some("[::1]:8000"), "ws://[::1]:8080"),
            (None, Some("bond.example"), "ws://bond.example:8080"),
            (None, None, "ws://localhost:8080"),
            (None, Some("a b"), "ws://localhost:8080"),
            (Some("feed.example"), Some("localhost"), "ws://feed.example:8080"),
            (Some("feed.example:9000"), Some("localhost"), "ws://feed.example:9000"),
            (Some("wss://feed.example/"), Some("localhost"), "wss://feed.example"),
        ] {
            assert_eq!(url(ws_host, host), base);
        }
    }
}
