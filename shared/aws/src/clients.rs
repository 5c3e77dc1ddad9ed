//! The clients, made once per process.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::connections::DynamoConnections;
use crate::gateway::ApiGateway;
use crate::lambda::LambdaInvoker;
use crate::secrets::Secrets;
use crate::signed::{ClientError, Service, SignedHttp};
use crate::streams::DynamoStreams;
use crate::table::Table;

/// How long one request to DynamoDB or Secrets Manager may take, and all attempts together.
const ATTEMPT: Duration = Duration::from_secs(2);
const OPERATION: Duration = Duration::from_secs(6);

/// Where this process runs on AWS: region, credentials and endpoints. A client made from it exists once however often it is
/// cloned, and a process that never asks for a service does not contain its client.
#[derive(Clone)]
pub struct Aws(SdkConfig);

impl Aws {
    /// From the environment, as all of AWS's SDKs do: `AWS_REGION`, credentials of the function, task, profile or environment, and
    /// `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_{SERVICE}` for emulators, `http` included.
    pub async fn load() -> Self {
        Self(loader().load().await)
    }

    /// The registry of streams in this table.
    pub fn streams(&self, table: impl Into<String>) -> DynamoStreams {
        DynamoStreams::new(self.table(table))
    }

    /// The connections in this table.
    pub fn connections(&self, table: impl Into<String>) -> DynamoConnections {
        DynamoConnections::new(self.table(table))
    }

    /// Secrets Manager.
    pub fn secrets(&self) -> Secrets {
        Secrets::new(aws_sdk_secretsmanager::Client::new(&self.0))
    }

    /// Posts to the connections of the WebSocket API whose `@connections` are below `callback_url` (`https://…/{stage}`), at most
    /// `posts_per_second` in this process.
    ///
    /// # Errors
    /// [`ClientError`] where region, credentials or certificates are missing, or the URL is none.
    pub fn api_gateway(&self, callback_url: &str, posts_per_second: u32) -> Result<ApiGateway, ClientError> {
        ApiGateway::new(&self.0, callback_url, posts_per_second)
    }

    /// Invokes this function, given by name or ARN.
    ///
    /// # Errors
    /// [`ClientError`] where region, credentials or certificates are missing, or the endpoint's URL is none.
    pub fn lambda(&self, function: &str) -> Result<LambdaInvoker, ClientError> {
        LambdaInvoker::new(SignedHttp::new(&self.0, Service::Lambda)?, function)
    }

    fn table(&self, name: impl Into<String>) -> Table {
        Table { client: aws_sdk_dynamodb::Client::new(&self.0), name: name.into() }
    }
}

fn loader() -> ConfigLoader {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(ATTEMPT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).http_client(http.build_https()).timeout_config(timeouts)
}

#[cfg(test)]
impl Aws {
    /// Every service at one loopback address.
    pub(crate) async fn for_tests(url: &str) -> Self {
        let credentials = aws_credential_types::Credentials::for_tests();
        let loader = loader().region("eu-central-1").credentials_provider(credentials);
        Self(loader.endpoint_url(url).load().await)
    }

    pub(crate) const fn config(&self) -> &SdkConfig {
        &self.0
    }
}
