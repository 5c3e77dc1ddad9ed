//! A running simulator, and what a test does with it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, handshake};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The simulator as a process, killed at the end; its functions must notice.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) url: String,
    http: Client,
    _folder: TempDir,
}

impl Gateway {
    /// Starts one with the probe behind all routes; `changes` replaces members of the configuration.
    pub(crate) async fn start(changes: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (config, ready) = (folder.path().join("config.json"), folder.path().join("ready"));
        let mut settings = json!({
            "stage": "v1",
            "functions": {"probe": probe(json!({}))},
            "routes": {"$connect": "probe", "$disconnect": "probe", "$default": "probe"},
            "mock_routes": {"ping": r#"{"type":"pong","ts":$context.requestTimeEpoch}"#},
            "http": "probe",
        });
        merge(&mut settings, changes);
        std::fs::write(&config, settings.to_string()).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_bond-gateway"))
            .arg("--config")
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = eventually("the ready file", async || std::fs::read_to_string(&ready).ok()).await;
        Self { process, url: url.trim().to_owned(), http: Client::new(), _folder: folder }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    /// A request that is signed in form.
    pub(crate) fn signed(&self, method: &str, path: &str, service: &str) -> RequestBuilder {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/{service}/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}",
            "0".repeat(64)
        );
        self.request(method, path)
            .header("authorization", authorization)
            .header("x-amz-date", "20261121T120000Z")
    }

    /// Invokes a function synchronously.
    pub(crate) async fn invoke(&self, function: &str, payload: Value) -> Response {
        self.invocation(function).body(payload.to_string()).send().await.unwrap()
    }

    pub(crate) fn invocation(&self, function: &str) -> RequestBuilder {
        self.signed("POST", &format!("/2015-03-31/functions/{function}/invocations"), "lambda")
    }

    /// A request to `@connections`.
    pub(crate) fn connection(&self, method: &str, id: &str) -> RequestBuilder {
        self.signed(method, &format!("/v1/@connections/{}", id.replace('=', "%3D")), "execute-api")
    }

    /// Posts to a connection; the status and the exception's name.
    pub(crate) async fn post(&self, id: &str, message: impl Into<reqwest::Body>) -> (u16, String) {
        outcome(&self.connection("POST", id).body(message).send().await.unwrap())
    }

    pub(crate) async fn faults(&self, plan: Value) {
        let response = self.request("PUT", "/_admin/faults").json(&plan).send().await.unwrap();
        assert_eq!(response.status(), 204);
    }

    pub(crate) async fn advance(&self, by: Duration) {
        let body = json!({"advance_ms": by.as_millis()});
        let response = self.request("POST", "/_admin/clock").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    pub(crate) async fn stats(&self) -> Value {
        self.request("GET", "/_admin/stats").send().await.unwrap().json().await.unwrap()
    }

    /// The events that the probe has been given, once `enough`.
    pub(crate) async fn events_once(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        eventually("the events", async || Some(self.events().await).filter(|events| enough(events))).await
    }

    pub(crate) async fn events(&self) -> Vec<Value> {
        let log =
            self.request("GET", "/_admin/logs?function=probe").send().await.unwrap().text().await.unwrap();
        let events = log.lines().filter_map(|line| line.strip_prefix("event "));
        events.map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// The `$disconnect` event of a connection.
    pub(crate) async fn disconnected(&self, id: &str) -> Value {
        let of_it = |event: &&Value| is_disconnect(event) && event["requestContext"]["connectionId"] == id;
        let events = self.events_once(|events| events.iter().any(|event| of_it(&event))).await;
        events.iter().find(of_it).unwrap()["requestContext"].clone()
    }

    /// Connects a client, whose id is that of the newest connection.
    pub(crate) async fn connect(&self) -> Socket {
        self.try_connect("", &[]).await.unwrap().0
    }

    pub(crate) async fn try_connect(
        &self,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Socket, handshake::client::Response), Error> {
        let mut request =
            format!("{}/v1{query}", self.url.replace("http", "ws")).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        tokio_tungstenite::connect_async(request).await
    }

    /// The ids of the open connections.
    pub(crate) async fn connections(&self) -> Vec<String> {
        let all: Value =
            self.request("GET", "/_admin/connections").send().await.unwrap().json().await.unwrap();
        all.as_array()
            .unwrap()
            .iter()
            .map(|connection| connection["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The id of the only open connection.
    pub(crate) async fn only_connection(&self) -> String {
        let ids = self.connections().await;
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids[0].clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills the process without a chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) {
        self.process.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The probe's configuration.
pub(crate) fn probe(changes: Value) -> Value {
    let mut config = json!({
        "command": [env!("CARGO_BIN_EXE_bond-gateway-probe")],
        "env": {"GATEWAY": "${GATEWAY}"},
        "timeout_ms": 10_000,
        "concurrency": 10,
    });
    merge(&mut config, changes);
    config
}

fn merge(target: &mut Value, changes: Value) {
    let Value::Object(changes) = changes else { return };
    for (name, value) in changes {
        target[name] = value;
    }
}

pub(crate) fn is_disconnect(event: &Value) -> bool {
    event["requestContext"]["eventType"] == "DISCONNECT"
}

/// A response's status and the exception that it names.
pub(crate) fn outcome(response: &Response) -> (u16, String) {
    let name = response.headers().get("x-amzn-errortype").map_or("", |name| name.to_str().unwrap());
    (response.status().as_u16(), name.to_owned())
}

/// Sends a text.
pub(crate) async fn send(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

/// The next text.
pub(crate) async fn text(socket: &mut Socket) -> String {
    match next(socket).await {
        Message::Text(text) => text.to_string(),
        other => panic!("not a text: {other:?}"),
    }
}

/// The code with which the connection ends, after whatever is still sent.
pub(crate) async fn close_code(socket: &mut Socket) -> u16 {
    close_frame(socket).await.code.into()
}

pub(crate) async fn close_frame(socket: &mut Socket) -> CloseFrame {
    loop {
        if let Message::Close(frame) = next(socket).await {
            return frame.unwrap();
        }
    }
}

async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next())
        .await
        .expect("a message in time")
        .expect("a message")
        .unwrap()
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Whether a process runs.
pub(crate) fn runs(pid: u32) -> bool {
    // A zombie has ended.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The processes that this one has started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}
