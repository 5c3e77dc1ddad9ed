//! The serverless shape on one machine without a deploy: the real functions behind `bond-gateway`, ingest, Redis, and the emulator as the
//! keeper of tables and secrets.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::emulator::Emulator;
use crate::host::ISSUER_SECRET;
use crate::process::{Bond, Process, binary, fresh_dir, url_in};
use crate::redis::Redis;
use crate::roles;

/// The stage of the WebSocket API.
const STAGE: &str = "v1";

/// The functions, and whether each may run several at once.
const FUNCTIONS: [&str; 5] = ["api", "ws_connect", "ws_disconnect", "ws_message", "fanout"];

const STREAMS: &str = "streams";
const CONNECTIONS: &str = "connections";
const TOKEN_KEYS: &str = "bond/token-keys";
const API_KEYS: &str = "bond/api-keys";
const ISSUER_KEYS: &str = "bond/issuer-keys";

/// What the gateway gives functions by itself.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// What the gateway answers to `ping` by itself.
const PONG: &str = r#"{"type":"pong"}"#;

/// How it is driven.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events a second of each simulated venue.
    pub rate: u32,
    /// How long a post takes, in milliseconds.
    pub post_ms: u64,
    /// Further environment variables of functions and ingest.
    pub settings: Vec<(String, String)>,
    /// Whether tests can have the processes' tasks panic.
    pub is_planted: bool,
}

impl Default for Options {
    fn default() -> Self {
        let settings = vec![("BOND_MAX_STREAMS".into(), "50".into())];
        Self { rate: 200, post_ms: 0, settings, is_planted: false }
    }
}

/// A running serverless Bond.
pub struct Cloud {
    /// The REST interface, with a key.
    pub api: Api,
    /// The WebSocket API's URL.
    pub ws: String,
    /// The simulator of API Gateway.
    pub gateway: Gateway,
    /// The event log.
    pub redis: Redis,
    /// The processes of ingest: one that leads, and perhaps some that stand by.
    pub ingest: Vec<Process>,
    emulator: Emulator,
    settings: Vec<(String, String)>,
    rate: u32,
    is_planted: bool,
}

/// A running `bond-cloud edge`.
pub struct Edge {
    /// Its process.
    pub process: Process,
    /// The WebSocket base URL.
    pub ws: String,
}

/// A running `bond-gateway`.
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// Its base URL.
    pub url: String,
    http: reqwest::Client,
}

impl Cloud {
    /// Starts all of it, and waits until ingest leads.
    ///
    /// # Errors
    /// Where a part does not start.
    pub async fn start(options: Options) -> Result<Self> {
        let users = roles::arguments();
        let mut arguments = vec!["--appendonly", "yes", "--appendfsync", "always"];
        arguments.extend(users.iter().map(String::as_str));
        let (redis, emulator) = tokio::try_join!(Redis::start_with(&arguments), Emulator::start())?;
        let key = store(&emulator).await?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = settings(&redis, &emulator, port, &options);
        let gateway = Gateway::start(port, &config(&settings, &options)).await?;
        let api = Api::open(gateway.url.clone())?.with_key(key);
        let ws = format!("ws://127.0.0.1:{port}/{STAGE}");
        let Options { rate, is_planted, .. } = options;
        let ingest = Vec::new();
        let mut cloud = Self { api, ws, gateway, redis, ingest, emulator, settings, rate, is_planted };
        cloud.add_ingest().await?;
        cloud.leads().await?;
        Ok(cloud)
    }

    /// Waits until a process of ingest leads.
    ///
    /// # Errors
    /// Where that does not come within 30 s.
    pub async fn leads(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.api.get("/ready").await? {
                (200, _) => return Ok(()),
                (_, answer) if Instant::now() > deadline => bail!("not ready: {answer}"),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Starts one process of ingest more, and waits until it leads or stands by.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn add_ingest(&mut self) -> Result<()> {
        let rate = self.rate.to_string();
        let process = self.process(&["ingest", "--venues", "sim", "--sim-rate", &rate]).await?.0;
        self.ingest.push(process);
        Ok(())
    }

    /// Starts a dedicated edge beside the functions, on the same log and registry.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn edge(&self) -> Result<Edge> {
        let (process, banner) = self.process(&["edge"]).await?;
        Ok(Edge { process, ws: url_in(&banner, "ws://")? })
    }

    async fn process(&self, words: &[&str]) -> Result<(Process, String)> {
        let mut settings = self.settings.clone();
        settings.push(("REDIS_URL".into(), roles::url(&self.redis.url(), words[0])));
        settings.push(("AWS_ENDPOINT_URL_LAMBDA".into(), self.gateway.url.clone()));
        settings.push(("BOND_PORT".into(), "0".into()));
        settings.push(("PROMETHEUS_PORT".into(), "0".into()));
        let dir = fresh_dir(words[0])?;
        if self.is_planted {
            settings.push(("BOND_PLANT_FILE".into(), Bond::planted_in(&dir)));
        }
        let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let words = [words, &["--bind", "127.0.0.1"]].concat();
        Process::start_binary(&beside("bond-cloud"), dir, &words, &settings).await
    }

    /// The items of connections in the table.
    ///
    /// # Errors
    /// Where the emulator does not give them.
    pub async fn kept_connections(&self) -> Result<Vec<Value>> {
        self.emulator.items(CONNECTIONS).await
    }

    /// Puts another file of API keys in the place of the one there is.
    ///
    /// # Errors
    /// Where the emulator refuses.
    pub async fn replace_keys(&self, text: &str) -> Result<()> {
        self.emulator.replace_secret(API_KEYS, text).await
    }

    /// The metrics of a process of ingest, by its place.
    ///
    /// # Errors
    /// Where it does not give them.
    pub async fn metrics(&self, process: usize) -> Result<String> {
        let url = url_in(&self.ingest[process].log(), "http://")?;
        Ok(self.gateway.http.get(format!("{url}/metrics")).send().await?.error_for_status()?.text().await?)
    }

    /// The URL of a feed, with its query begun.
    pub fn feed_url(&self) -> String {
        format!("{}?mode=feed", self.ws)
    }
}

/// A binary that was built beside `bond`.
fn beside(name: &str) -> PathBuf {
    binary().with_file_name(name)
}

/// Makes tables and secrets; gives an API key.
async fn store(emulator: &Emulator) -> Result<String> {
    let dir = fresh_dir("keys")?;
    let made = Command::new(binary())
        .args(["key", "new", "--owner", "e2e", "--data-dir"])
        .arg(&dir)
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let keys = std::fs::read_to_string(dir.join("keys.json"))?;
    let signing = json!({"current": "the-current-token-key-of-the-end-to-end-tests"}).to_string();
    let issuer = json!({"secret": ISSUER_SECRET}).to_string();
    tokio::try_join!(
        emulator.table(STREAMS),
        emulator.table(CONNECTIONS),
        emulator.secret(API_KEYS, &keys),
        emulator.secret(TOKEN_KEYS, &signing),
        emulator.secret(ISSUER_KEYS, &issuer),
    )?;
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

fn settings(redis: &Redis, emulator: &Emulator, port: u16, options: &Options) -> Vec<(String, String)> {
    let base = format!("127.0.0.1:{port}/{STAGE}");
    let ours = [
        ("REDIS_URL", redis.url()),
        ("BOND_TOKEN_KEYS_SECRET", TOKEN_KEYS.to_owned()),
        ("BOND_API_KEYS_SECRET", API_KEYS.to_owned()),
        ("BOND_JWT_KEYS_SECRET", ISSUER_KEYS.to_owned()),
        // The dedicated edge, which reads its own.
        ("BOND_JWT_SECRET", ISSUER_SECRET.to_owned()),
        ("BOND_TABLE_STREAMS", STREAMS.to_owned()),
        ("BOND_TABLE_CONNECTIONS", CONNECTIONS.to_owned()),
        ("BOND_WS_URL", format!("ws://{base}")),
        ("BOND_WS_CALLBACK_URL", format!("http://{base}")),
        ("BOND_FANOUT_FUNCTION", "fanout".to_owned()),
        ("BOND_POSTS_PER_SECOND", "100000".to_owned()),
        ("BOND_LOG", "info".to_owned()),
        ("BOND_BONDX_PUBSUB", "true".to_owned()),
    ];
    let mut all: Vec<_> = ours.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.extend(emulator.environment());
    all.extend(options.settings.iter().cloned());
    all
}

/// The gateway's configuration: the real functions on the routes that `iac` gives them.
fn config(settings: &[(String, String)], options: &Options) -> Value {
    // Each process of a function has credentials of its own, by which the gateway knows who posts.
    let env = settings.iter().filter(|(name, _)| !CREDENTIALS.contains(&name.as_str()));
    let env: Map<String, Value> = env.map(|(name, value)| (name.clone(), json!(value))).collect();
    let function = |name: &&str| {
        let mut env = env.clone();
        if let Some(Value::String(url)) = env.get_mut("REDIS_URL") {
            *url = roles::url(url, name);
        }
        let function = json!({
            "command": [beside(name)], "env": env, "timeout_ms": 10_000, "concurrency": 20, "memory_mb": 512,
        });
        ((*name).to_owned(), function)
    };
    json!({
        "stage": STAGE,
        "functions": FUNCTIONS.iter().map(function).collect::<Map<_, _>>(),
        "routes": {"$connect": "ws_connect", "$disconnect": "ws_disconnect", "$default": "ws_message"},
        "mock_routes": {"ping": PONG},
        "route_responses": ["$default"],
        "http": "api",
        "throttles": throttles(),
        "post_ms": options.post_ms,
        "seed": 1,
    })
}

/// The limits of routes that `iac` deploys.
fn throttles() -> Value {
    serde_json::from_str(include_str!("../../iac/lib/throttles.json")).unwrap_or_default()
}

impl Gateway {
    async fn start(port: u16, config: &Value) -> Result<Self> {
        let dir = fresh_dir("gateway")?;
        let file = dir.join("gateway.json");
        std::fs::write(&file, config.to_string())?;
        let (port, file) = (port.to_string(), file.to_string_lossy().into_owned());
        let words = ["--port", port.as_str(), "--config", file.as_str()];
        let (process, url) = Process::start_binary(&beside("bond-gateway"), dir, &words, &[]).await?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { process, url: url.trim().to_owned(), http })
    }

    /// Replaces the faults that it plays; `{}` for none.
    ///
    /// # Errors
    /// Where it refuses.
    pub async fn faults(&self, faults: &Value) -> Result<()> {
        self.admin("PUT", "faults", faults).await.map(drop)
    }

    /// Moves its clock on.
    ///
    /// # Errors
    /// Where it refuses.
    pub async fn advance(&self, by: Duration) -> Result<()> {
        self.admin("POST", "clock", &json!({"advance_ms": by.as_millis() as u64})).await.map(drop)
    }

    /// What it has counted.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn stats(&self) -> Result<Value> {
        self.admin("GET", "stats", &Value::Null).await
    }

    /// The ids of the open connections.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn connections(&self) -> Result<Value> {
        self.admin("GET", "connections", &Value::Null).await
    }

    /// Drops the socket of a connection as a lost network does: no function hears of it.
    ///
    /// # Errors
    /// Where there is no such connection.
    pub async fn drop_silently(&self, id: &str) -> Result<()> {
        self.admin("DELETE", &format!("connections/{id}?silent=true"), &Value::Null).await.map(drop)
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let request = self.http.request(method.parse()?, format!("{}/_admin/{path}", self.url));
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.context("the gateway does not answer")?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}
