//! REST behind an HTTP API of API Gateway: the router of `bond-api` with the adaptations that API Gateway needs.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bond_api::problem::{Problem, REQUEST_ID};
use bond_api::rest::{self, RestState};
use bond_core::code::Code;
use bond_core::time::Clock;
use lambda_http::request::RequestContext;

use crate::emf::{Emf, Metric};
use crate::secrets::Vault;

/// What the function does around the router on every request.
pub struct ApiContext {
    /// The keys, which are read again when they are old.
    pub vault: Vault,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub emf: Emf,
}

/// The REST interface as `lambda_http` calls it.
pub fn router(state: Arc<RestState>, surroundings: Arc<ApiContext>) -> Router {
    // This wraps the router, because paths are matched after the stage was cut off.
    let routes = rest::router(state, Router::new());
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(surroundings, surround))
        .layer(middleware::map_request(as_seen_by_clients))
}

/// Refreshes the keys, and counts and times the request.
async fn surround(State(around): State<Arc<ApiContext>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = match around.vault.keyring().await {
        Ok(_) => next.run(request).await,
        Err(error) => {
            tracing::error!("{error}");
            Problem::new(Code::InternalError, "the server's keys cannot be read: try again").into_response()
        }
    };
    let status = response.status();
    around.emf.write(
        around.clock.now(),
        &[
            Metric::count("Requests", 1),
            Metric::count("RequestsRefused", usize::from(status.is_client_error())),
            Metric::share("ErrorPercent", is_failure(status)),
            Metric::time("Duration", begun.elapsed()),
        ],
    );
    response
}

/// Whether a status counts as a failure. The 503 of `/ready` does not: it is an intended answer to whoever watches it.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE
}

/// The request without the stage in its path, and with the request id that API Gateway uses in its own logs.
async fn as_seen_by_clients(mut request: Request) -> Request {
    let Some(RequestContext::ApiGatewayV2(context)) = request.extensions().get::<RequestContext>() else {
        return request;
    };
    let id = context.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok());
    let uri = context.stage.as_deref().and_then(|stage| without_stage(request.uri(), stage));
    if let Some(id) = id {
        request.headers_mut().insert(REQUEST_ID, id);
    }
    if let Some(uri) = uri {
        *request.uri_mut() = uri;
    }
    request
}

/// The path without the stage; `None` if the path does not begin with it, as on the default stage.
fn without_stage(uri: &Uri, stage: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix('/')?.strip_prefix(stage)?;
    let path = match rest.as_bytes().first() {
        Some(b'/') => PathAndQuery::try_from(rest),
        Some(b'?') | None => PathAndQuery::try_from(format!("/{rest}")),
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_cut_off_a_path_and_nothing_else() {
        for (path, cut) in [
            ("/v1/v1/streams?after=1", Some("/v1/streams?after=1")),
            ("/v1", Some("/")),
            ("/v1?a=b", Some("/?a=b")),
            ("/v10/streams", None),
            ("/health", None),
        ] {
            let uri: Uri = format!("https://api.example{path}").parse().expect("uri");
            let found = without_stage(&uri, "v1").map(|uri| uri.path_and_query().map(ToString::to_string));
            assert_eq!(found, cut.map(|cut| Some(cut.to_owned())), "{path}");
        }
    }
}
