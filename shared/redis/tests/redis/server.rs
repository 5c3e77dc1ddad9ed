//! A Redis server of a test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bond_core::time::{ManualClock, UnixNanos};
use bond_redis::{Redis, RedisConfig, RedisLog, Retention};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const RETENTION: Retention =
    Retention { ring: Duration::from_secs(60), topic_bytes: 1_000_000, total_bytes: 100_000_000 };

pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    settings: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts a server with these settings besides those of every test.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let server = Self::launch(settings);
        server.answers().await;
        server
    }

    /// Starts a server without waiting for it.
    pub(crate) fn launch(settings: &[&str]) -> Self {
        let settings = settings.iter().map(ToString::to_string).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Self { child: None, port: free_port(), dir, settings };
        server.spawn();
        server
    }

    fn spawn(&mut self) {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.dir.path())
            .args(self.settings.iter().map(|setting| setting.replace("PORT", &port)))
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server, which scripts/tools/redis installs"));
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn connect(&self) -> Redis {
        let config = RedisConfig { url: self.url(), password: None };
        Redis::connect(&config).await.expect("a connection")
    }

    async fn answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.command(&["PING"]) != "PONG" {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a command by another client, and gives its answer as text.
    pub(crate) fn command(&self, args: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(args).output();
        String::from_utf8_lossy(&output.expect("redis-cli").stdout).trim().to_owned()
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Kills the server and starts it again, on what it has written.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.answers().await;
    }

    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("a running server").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A number that no other handle of this test has.
pub(crate) fn nonce() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn log(redis: &Redis, clock: &Arc<ManualClock>) -> RedisLog {
    RedisLog::new(redis.clone(), RETENTION, clock.clone(), nonce())
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(UnixNanos::from_secs(1_700_000_000)))
}
