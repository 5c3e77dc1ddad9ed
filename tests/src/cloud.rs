//! The deployed stacks on the emulator: `scripts/cloud-up`, and `scripts/cloud-down` at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::emulator::{REGION, repository};
use crate::process::{binary, fresh_dir};

/// A deployed Bond.
pub struct Deployed {
    /// The REST interface, with a key.
    pub api: Api,
    /// The WebSocket API's URL.
    pub ws: String,
    /// Everything that `cloud-up` says.
    pub says: Value,
    dir: PathBuf,
    arguments: Vec<String>,
}

impl Deployed {
    /// Deploys the stacks with the binaries that were built beside this test, and waits until ingest leads. `arguments` go to
    /// `cloud-up`.
    ///
    /// # Errors
    /// Where it does not come up; the message has what it said.
    pub async fn start(arguments: &[&str]) -> Result<Self> {
        // One after another: what one of them synthesises, the next one takes.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _turn = ONE_AT_A_TIME.lock().await;
        let dir = fresh_dir("cloud")?.join("cloud");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        // Ended by its own end, whatever becomes of what follows.
        let mut cloud = Self { api: Api::open("")?, ws: String::new(), says: Value::Null, dir, arguments };
        cloud.up().await?;
        Ok(cloud)
    }

    /// Deploys over what runs: an upgrade.
    ///
    /// # Errors
    /// As [`Deployed::start`].
    pub async fn up(&mut self) -> Result<()> {
        self.up_with(&[]).await
    }

    /// As [`Deployed::up`], with further arguments, such as a changed setting.
    ///
    /// # Errors
    /// As [`Deployed::start`].
    pub async fn up_with(&mut self, more: &[&str]) -> Result<()> {
        let json = self.dir.with_extension("json");
        let mut command = tokio::process::Command::new(repository().join("scripts/cloud-up"));
        command.arg("--dir").arg(&self.dir).arg("--json").arg(&json).args(["--no-build", "--venues", "sim"]);
        command.arg("--binaries").arg(binary().parent().unwrap_or(Path::new(".")));
        let output = command.args(&self.arguments).args(more).stdin(Stdio::null()).output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        self.says = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
        self.api = Api::open(self.said("rest_url")?)?.with_key(self.said("api_key")?);
        self.ws = self.said("ws_url")?;
        self.leads().await
    }

    /// What `cloud-up` says under this name.
    ///
    /// # Errors
    /// Where it says nothing.
    pub fn said(&self, name: &str) -> Result<String> {
        Ok(self.says[name].as_str().with_context(|| format!("no {name} in {}", self.says))?.to_owned())
    }

    /// An output of the stacks.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn output(&self, name: &str) -> Result<String> {
        let output = self.says["outputs"][name].as_str();
        Ok(output.with_context(|| format!("no output {name} in {}", self.says["outputs"]))?.to_owned())
    }

    async fn leads(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            match self.api.get("/ready").await? {
                (200, _) => return Ok(()),
                (_, answer) if Instant::now() > deadline => bail!("not ready: {answer}"),
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// A request to a service of the emulator, as the account's root.
    ///
    /// # Errors
    /// Where it is refused.
    pub async fn aws(&self, service: &str, method: &str, path: &str, body: &Value) -> Result<Value> {
        let scope = format!("test/20260101/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        let request = http.request(method.parse()?, format!("{}{path}", self.said("endpoint")?));
        let answer = request.header("authorization", authorization).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// The URL of a feed, with its query begun.
    pub fn feed_url(&self) -> String {
        format!("{}?mode=feed", self.ws)
    }

    /// Ends all of it.
    ///
    /// # Errors
    /// Where `cloud-down` finds that something is left behind.
    pub fn down(&self) -> Result<()> {
        let output =
            Command::new(repository().join("scripts/cloud-down")).arg("--dir").arg(&self.dir).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(!self.dir.exists(), "{} is left behind", self.dir.display());
        Ok(())
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if self.dir.exists()
            && let Err(error) = self.down()
        {
            eprintln!("{error:#}");
        }
    }
}
