//! Signed HTTP requests to one AWS service: sent once, never repeated, and with it known whether the service can have seen one.

mod signer;

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use tokio::time::{Instant, timeout_at};

use self::signer::{SignError, Signer};

/// How long opening a TCP connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an idle connection is kept: less than API Gateway keeps it, so that it is not found closed by the next request.
const IDLE: Duration = Duration::from_secs(20);

/// A service that is called by signed requests of our own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    ApiGateway,
    Lambda,
}

impl Service {
    /// Its name in signatures.
    const fn signing_name(self) -> &'static str {
        match self {
            Self::ApiGateway => "execute-api",
            Self::Lambda => "lambda",
        }
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No region.
    #[error("no AWS region: set AWS_REGION")]
    Region,
    /// No source of credentials.
    #[error("no AWS credentials: give the function, task or profile a role, or set AWS_ACCESS_KEY_ID")]
    Credentials,
    /// No root certificates to trust.
    #[error("no root certificates: install the system's, or set SSL_CERT_FILE: {0}")]
    Certificates(std::io::Error),
    /// An endpoint's URL that is none.
    #[error("not a URL: {0}")]
    Url(String),
}

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The service cannot have seen it.
    #[error("not sent: {0}")]
    Unsent(String),
    /// The service may have acted on it.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// The same, time being up.
    #[error("no answer in time")]
    Deadline,
}

impl From<SignError> for SendError {
    fn from(error: SignError) -> Self {
        Self::Unsent(error.to_string())
    }
}

/// What a service answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The error's name, without what some services append to it: `GoneException:http://…`.
    pub(crate) fn error_type(&self) -> &str {
        let name = self.header("x-amzn-errortype").unwrap_or_default();
        name.split([':', ',']).next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The beginning of its body, for logs.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(300)]).into_owned()
    }
}

/// A client of one service. A clone shares its connections and credentials.
#[derive(Clone)]
pub(crate) struct SignedHttp(Arc<Shared>);

struct Shared {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    signer: Signer,
    config: SdkConfig,
}

impl SignedHttp {
    pub(crate) fn new(config: &SdkConfig, service: Service) -> Result<Self, ClientError> {
        Ok(Self(Arc::new(Shared {
            http: client()?,
            signer: Signer::new(config, service)?,
            config: config.clone(),
        })))
    }

    /// Where Lambda is reached: as the environment says, else by the region.
    pub(crate) fn lambda_endpoint(&self) -> String {
        let config = &self.0.config;
        let key =
            ServiceConfigKey::builder().service_id("Lambda").env("AWS_ENDPOINT_URL").profile("endpoint_url");
        let own = key.build().ok().and_then(|key| config.service_config()?.load_config(key));
        let set = own.or_else(|| config.endpoint_url().map(str::to_owned));
        set.unwrap_or_else(|| {
            regional("lambda", self.0.signer.region(), config.use_dual_stack() == Some(true))
        })
    }

    /// Sends a request once and reads the answer, both by `deadline`.
    pub(crate) async fn send(&self, request: Request<Bytes>, deadline: Instant) -> Result<Answer, SendError> {
        let signed = timeout_at(deadline, self.0.signer.sign(request)).await;
        let signed = signed.map_err(|_| SignError::Late).flatten()?;
        timeout_at(deadline, self.exchange(signed)).await.unwrap_or(Err(SendError::Deadline))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, SendError> {
        let answer = self.0.http.request(request.map(Full::new)).await.map_err(|error| send_error(&error))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| SendError::Unanswered(error.to_string()))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

/// A text as one segment of a URL's path.
pub(crate) fn path_segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() + 8), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
        path
    })
}

/// A POST without headers of its own.
pub(crate) fn post(uri: Uri, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request
}

fn client() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, ClientError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(ring::default_provider())
        .map_err(ClientError::Certificates)?;
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    Ok(client.build(tls.https_or_http().enable_http1().wrap_connector(tcp)))
}

fn send_error(error: &hyper_util::client::legacy::Error) -> SendError {
    let text = with_causes(error);
    if error.is_connect() { SendError::Unsent(text) } else { SendError::Unanswered(text) }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The public endpoint of a service (AWS General Reference, read 2026-11).
fn regional(service: &str, region: &str, dual_stack: bool) -> String {
    let domain = match (region.starts_with("cn-"), dual_stack) {
        (false, false) => "amazonaws.com",
        (false, true) => "api.aws",
        (true, false) => "amazonaws.com.cn",
        (true, true) => "api.amazonwebservices.com.cn",
    };
    format!("https://{service}.{region}.{domain}")
}
