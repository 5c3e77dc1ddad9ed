//! A server that speaks DynamoDB, as a process that ends with the test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::Aws;

/// How long a server may take to start, its download included.
const START: Duration = Duration::from_secs(120);

/// The file of what a server says.
const LOG: &str = "server.log";

/// A running server.
pub(super) struct Server {
    process: Child,
    url: String,
    /// What it writes; removed after it has ended.
    dir: TempDir,
}

impl Server {
    /// AWS's own DynamoDB Local, in memory.
    pub(super) async fn dynamodb_local() -> Self {
        let port = free_port();
        let mut command = Command::new(root().join("scripts/tools/dynamodb-local"));
        command.arg(port.to_string());
        Self::start(command, port, tempfile::tempdir().expect("directory")).await
    }

    /// The AWS emulator of the local cloud.
    pub(super) async fn emulator() -> Self {
        let home = root().join("localstack");
        let python = home.join(".venv/bin/python");
        assert!(python.exists(), "no {}: scripts/test makes it by localstack/environment", python.display());
        let (port, dir) = (free_port(), tempfile::tempdir().expect("directory"));
        let mut command = Command::new(python);
        command.arg(home.join("launcher.py")).env("GATEWAY_PORT", port.to_string());
        command.env("TMPDIR", dir.path()).env("STATE_DIR", dir.path().join("state"));
        command.envs([("BIND_HOST", "127.0.0.1"), ("AUTH", "false"), ("PERSIST_STATE", "0")]);
        command.envs([("IOT_MTLS_ENABLED", "0"), ("SFTP_ENABLED", "0")]);
        Self::start(command, port, dir).await
    }

    async fn start(mut command: Command, port: u16, dir: TempDir) -> Self {
        let log = File::create(dir.path().join(LOG)).expect("log");
        command.stdout(log.try_clone().expect("log")).stderr(log);
        let process = command.kill_on_drop(true).spawn().expect("start");
        let mut server = Self { process, url: format!("http://127.0.0.1:{port}"), dir };
        server.wait().await;
        server
    }

    /// Waits until it answers.
    async fn wait(&mut self) {
        let (client, deadline) = (self.dynamodb().await, Instant::now() + START);
        while client.list_tables().send().await.is_err() {
            let ended = self.process.try_wait().expect("state");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "the server does not answer\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }

    pub(super) async fn aws(&self) -> Aws {
        Aws::for_tests(&self.url).await
    }

    /// A table as the deployment makes them.
    pub(super) async fn create_table(&self, name: &str) {
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let text = |name: &str| {
            let kind = ScalarAttributeType::S;
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(kind)
                .build()
                .expect("attribute")
        };
        let table =
            self.dynamodb().await.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        let table = table.attribute_definitions(text("pk")).attribute_definitions(text("sk"));
        let table = table.key_schema(key("pk", KeyType::Hash).expect("key"));
        let made = table.key_schema(key("sk", KeyType::Range).expect("key")).send().await;
        // A busy machine may answer too late: the client asks again then, and the first request has made it.
        if let Err(error) = made.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error) {
            assert!(error.is_resource_in_use_exception(), "{error:?}");
        }
    }

    async fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(self.aws().await.config())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("port").port()
}
