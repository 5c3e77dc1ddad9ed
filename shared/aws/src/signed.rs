//! Signed HTTP requests to one AWS service: sent once, never repeated, and with it known whether the service can have seen one.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use tokio::sync::RwLock;
use tokio::time::{Instant, timeout_at};

/// Credentials that end within this time are replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
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
pub enum SignedHttpError {
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
    provider: SharedCredentialsProvider,
    kept: RwLock<Option<(Identity, Credentials)>>,
    time: SharedTimeSource,
    region: String,
    service: Service,
    config: SdkConfig,
}

impl SignedHttp {
    pub(crate) fn new(config: &SdkConfig, service: Service) -> Result<Self, SignedHttpError> {
        Ok(Self(Arc::new(Shared {
            http: client()?,
            provider: config.credentials_provider().ok_or(SignedHttpError::Credentials)?,
            kept: RwLock::default(),
            time: config.time_source().unwrap_or_default(),
            region: config.region().ok_or(SignedHttpError::Region)?.to_string(),
            service,
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
        set.unwrap_or_else(|| regional("lambda", &self.0.region, config.use_dual_stack() == Some(true)))
    }

    /// Sends a request once and reads the answer, both by `deadline`.
    pub(crate) async fn send(&self, request: Request<Bytes>, deadline: Instant) -> Result<Answer, SendError> {
        let identity = timeout_at(deadline, self.identity());
        let identity = identity.await.map_err(|_| SendError::Unsent("credentials not in time".into()))??;
        let request = self.sign(request, &identity)?.map(Full::new);
        let exchange = async {
            let (head, body) = self.0.http.request(request).await.map_err(send_error)?.into_parts();
            let body = body.collect().await.map_err(|error| SendError::Unanswered(error.to_string()))?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        timeout_at(deadline, exchange).await.unwrap_or(Err(SendError::Deadline))
    }

    /// The credentials, asked for anew when they are about to end.
    async fn identity(&self) -> Result<Identity, SendError> {
        if let Some((identity, credentials)) = &*self.0.kept.read().await
            && !self.is_ending(credentials)
        {
            return Ok(identity.clone());
        }
        let mut kept = self.0.kept.write().await;
        if let Some((identity, _)) = kept.as_ref().filter(|(_, credentials)| !self.is_ending(credentials)) {
            return Ok(identity.clone());
        }
        let unsent = |error: aws_credential_types::provider::error::CredentialsError| {
            SendError::Unsent(format!(
                "no credentials: {}",
                aws_smithy_types::error::display::DisplayErrorContext(error)
            ))
        };
        let credentials = self.0.provider.provide_credentials().await.map_err(unsent)?;
        let identity = Identity::from(credentials.clone());
        *kept = Some((identity.clone(), credentials));
        Ok(identity)
    }

    fn is_ending(&self, credentials: &Credentials) -> bool {
        credentials.expiry().is_some_and(|end| end < self.0.time.now() + RENEW_BEFORE)
    }

    fn sign(&self, mut request: Request<Bytes>, identity: &Identity) -> Result<Request<Bytes>, SendError> {
        let unsent = |error: &dyn std::error::Error| SendError::Unsent(format!("cannot sign: {error}"));
        let params = SigningParams::builder()
            .identity(identity)
            .region(&self.0.region)
            .name(self.0.service.signing_name())
            .time(self.0.time.now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsent(&error))?
            .into();
        let uri = request.uri().to_string();
        let headers =
            request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(request.body());
        let signable = SignableRequest::new(request.method().as_str(), uri, headers, body);
        let signed = signable.and_then(|signable| sign(signable, &params)).map_err(|error| unsent(&error))?;
        let (instructions, _signature) = signed.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
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

/// A request without headers of its own.
pub(crate) fn request(method: Method, uri: Uri, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request
}

fn client() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, SignedHttpError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(ring::default_provider())
        .map_err(SignedHttpError::Certificates)?;
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    Ok(client.build(tls.https_or_http().enable_http1().wrap_connector(tcp)))
}

fn send_error(error: hyper_util::client::legacy::Error) -> SendError {
    let text = with_causes(&error);
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
