//! Signatures (AWS Signature Version 4), and the credentials they are made with.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::error::display::DisplayErrorContext;
use bytes::Bytes;
use http::Request;
use tokio::sync::RwLock;

use super::{ClientError, Service};

/// Credentials that end within this time are replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignError {
    #[error("no credentials: {0}")]
    Credentials(String),
    #[error("no credentials in time")]
    Late,
    #[error("cannot sign: {0}")]
    Request(String),
}

/// Signs for one service, with credentials that are asked for again only when they are about to end.
pub(super) struct Signer {
    provider: SharedCredentialsProvider,
    kept: RwLock<Option<Kept>>,
    time: SharedTimeSource,
    region: String,
    service: Service,
}

struct Kept {
    credentials: Credentials,
    identity: Identity,
}

impl Signer {
    pub(super) fn new(config: &SdkConfig, service: Service) -> Result<Self, ClientError> {
        Ok(Self {
            provider: config.credentials_provider().ok_or(ClientError::Credentials)?,
            kept: RwLock::default(),
            time: config.time_source().unwrap_or_default(),
            region: config.region().ok_or(ClientError::Region)?.to_string(),
            service,
        })
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    pub(super) async fn sign(&self, mut request: Request<Bytes>) -> Result<Request<Bytes>, SignError> {
        let identity = self.identity().await?;
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service.signing_name())
            .time(self.time.now())
            .settings(SigningSettings::default());
        let params = params.build().map_err(|error| SignError::Request(error.to_string()))?.into();
        let signed = signable(&request).and_then(|signable| sign(signable, &params));
        let (instructions, _signature) =
            signed.map_err(|error| SignError::Request(error.to_string()))?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    async fn identity(&self) -> Result<Identity, SignError> {
        if let Some(identity) = self.usable(self.kept.read().await.as_ref()) {
            return Ok(identity);
        }
        let mut kept = self.kept.write().await;
        // Of many that wait here the first has asked.
        if let Some(identity) = self.usable(kept.as_ref()) {
            return Ok(identity);
        }
        let credentials = self.provider.provide_credentials().await;
        let credentials =
            credentials.map_err(|error| SignError::Credentials(DisplayErrorContext(error).to_string()))?;
        let identity = Identity::from(credentials.clone());
        *kept = Some(Kept { credentials, identity: identity.clone() });
        Ok(identity)
    }

    fn usable(&self, kept: Option<&Kept>) -> Option<Identity> {
        let ending = |end| end < self.time.now() + RENEW_BEFORE;
        kept.filter(|kept| !kept.credentials.expiry().is_some_and(ending)).map(|kept| kept.identity.clone())
    }
}

fn signable(request: &Request<Bytes>) -> Result<SignableRequest<'_>, aws_sigv4::http_request::SigningError> {
    let headers =
        request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(request.body());
    SignableRequest::new(request.method().as_str(), request.uri().to_string(), headers, body)
}
