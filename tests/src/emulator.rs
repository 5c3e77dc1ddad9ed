//! The AWS emulator as a store of tables and secrets, for functions that run beside it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::process::fresh_dir;

/// How long it may take to answer.
const START: Duration = Duration::from_secs(30);

/// The region that everything is in.
pub const REGION: &str = "us-east-1";

/// A running emulator.
pub struct Emulator {
    child: Child,
    /// Its endpoint.
    pub endpoint: String,
    dir: PathBuf,
    http: reqwest::Client,
}

/// The repository that these tests belong to.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

impl Emulator {
    /// Starts it on a free port and waits until it answers.
    ///
    /// # Errors
    /// Where its Python environment is missing, or it does not start.
    pub async fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = fresh_dir("emulator")?;
        let log = std::fs::File::create(dir.join("emulator.log"))?;
        let home = repository().join("localstack");
        let child = Command::new(home.join(".venv/bin/python"))
            .arg(home.join("launcher.py"))
            .envs([
                ("BIND_HOST", "127.0.0.1"),
                ("IOT_MTLS_ENABLED", "0"),
                ("SFTP_ENABLED", "0"),
                ("PERSIST_STATE", "0"),
            ])
            .env("GATEWAY_PORT", port.to_string())
            .env("TMPDIR", &dir)
            .env("STATE_DIR", dir.join("state"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the emulator cannot be started; localstack/environment prepares what it needs")?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let mut emulator = Self { child, endpoint: format!("http://127.0.0.1:{port}"), dir, http };
        emulator.answers().await?;
        Ok(emulator)
    }

    async fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        let url = format!("{}/_ministack/health", self.endpoint);
        while !self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.join("emulator.log")).unwrap_or_default();
                bail!("the emulator does not answer:\n{log}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The variables by which an AWS SDK finds it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let fixed = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let mut all: Vec<_> =
            fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.push(("AWS_ENDPOINT_URL".to_owned(), self.endpoint.clone()));
        all
    }

    /// Makes a table with the keys that all of Bond's tables have.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn table(&self, name: &str) -> Result<()> {
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let text = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let table = json!({
            "TableName": name,
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "AttributeDefinitions": [text("pk"), text("sk")],
            "BillingMode": "PAY_PER_REQUEST",
        });
        self.call("dynamodb", "DynamoDB_20120810.CreateTable", &table).await.map(drop)
    }

    /// Everything in a table, as far as it fits one answer.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn items(&self, table: &str) -> Result<Vec<Value>> {
        let query = json!({"TableName": table, "ConsistentRead": true});
        let found = self.call("dynamodb", "DynamoDB_20120810.Scan", &query).await?;
        Ok(found["Items"].as_array().context("no items")?.clone())
    }

    /// Makes a secret.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn secret(&self, name: &str, text: &str) -> Result<()> {
        let secret = json!({"Name": name, "SecretString": text});
        self.call("secretsmanager", "secretsmanager.CreateSecret", &secret).await.map(drop)
    }

    /// Gives a secret another text.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn replace_secret(&self, name: &str, text: &str) -> Result<()> {
        let secret = json!({"SecretId": name, "SecretString": text});
        self.call("secretsmanager", "secretsmanager.PutSecretValue", &secret).await.map(drop)
    }

    async fn call(&self, service: &str, action: &str, body: &Value) -> Result<Value> {
        let scope = format!("test/20260101/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let request = self.http.post(&self.endpoint).header("x-amz-target", action);
        let request = request
            .header("authorization", authorization)
            .header("content-type", "application/x-amz-json-1.1");
        let answer = request.body(body.to_string()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{action}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}
