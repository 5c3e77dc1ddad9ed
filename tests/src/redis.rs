//! A `redis-server` of the test's own, ended with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::process::fresh_dir;

/// How long it may take to answer.
const START: Duration = Duration::from_secs(20);

/// A running server on loopback.
pub struct Redis {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Redis {
    /// Starts one that keeps what it was told over a restart.
    ///
    /// # Errors
    /// Where `redis-server` is not installed, or does not answer.
    pub async fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = fresh_dir("redis")?;
        let mut redis = Self { child: spawn(port, &dir)?, port, dir };
        redis.await_answer().await?;
        Ok(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it and starts it anew, with its data.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.child.kill().await?;
        self.child = spawn(self.port, &self.dir)?;
        self.await_answer().await
    }

    /// Kills it and starts it anew, without its data.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn restart_empty(&mut self) -> Result<()> {
        self.child.kill().await?;
        std::fs::remove_dir_all(&self.dir)?;
        std::fs::create_dir_all(&self.dir)?;
        self.child = spawn(self.port, &self.dir)?;
        self.await_answer().await
    }

    async fn await_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while !self.answers().await.unwrap_or(false) {
            if self.child.try_wait()?.is_some() {
                bail!("redis-server ended at once");
            }
            if Instant::now() > deadline {
                bail!("redis-server does not answer");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether it has read its data: before, it answers with an error.
    async fn answers(&self) -> Result<bool> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).await?;
        Ok(answer == *b"+PONG")
    }
}

fn spawn(port: u16, dir: &PathBuf) -> Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .arg("--dir")
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server cannot be started: install it, such as by `apt-get install redis-server`")
}
