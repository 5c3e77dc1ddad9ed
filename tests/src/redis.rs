//! A `redis-server` of one's own, and a client that says to it what it is told.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::process::fresh_dir;

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(10);

/// A running `redis-server` on loopback.
pub struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    dir: PathBuf,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A text, status or number.
    Text(String),
    /// Nothing.
    Nil,
    /// A list.
    List(Vec<Reply>),
}

impl Redis {
    /// Starts one on a free port, with further arguments such as `--appendonly yes`, and waits until it answers.
    ///
    /// # Errors
    /// Where there is no `redis-server`, or it does not start.
    pub async fn start(arguments: &[&str]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = fresh_dir("redis")?;
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = spawn(port, &dir, &arguments)?;
        let mut redis = Self { child, port, arguments, dir };
        redis.answers().await?;
        Ok(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Ends it at once, and starts it again on the same port. What it had not written to its disk is lost; with `forget` its disk too.
    ///
    /// # Errors
    /// Where it does not start again.
    pub async fn restart(&mut self, forget: bool) -> Result<()> {
        self.child.kill().await?;
        if forget {
            std::fs::remove_dir_all(&self.dir)?;
            std::fs::create_dir_all(&self.dir)?;
        }
        self.child = spawn(self.port, &self.dir, &self.arguments)?;
        self.answers().await
    }

    /// A connection to it.
    ///
    /// # Errors
    /// Where it does not take one.
    pub async fn connect(&self) -> Result<Connection> {
        Ok(Connection(BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?)))
    }

    async fn answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if let Ok(mut connection) = self.connect().await
                && let Ok(Reply::Text(pong)) = connection.command(&["PING"]).await
                && pong == "PONG"
            {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!(
                    "redis-server does not answer on port {}; its log is in {}",
                    self.port,
                    self.dir.display()
                );
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn spawn(port: u16, dir: &PathBuf, arguments: &[String]) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("redis.log"))?;
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .arg("--dir")
        .arg(dir)
        .args(arguments)
        .stdout(log.try_clone()?)
        .stderr(log)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("redis-server cannot be started; scripts/tools/redis installs it")
}

/// A connection to a Redis, by its own protocol (RESP 2).
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Sends a command and reads the answer.
    ///
    /// # Errors
    /// Where the connection breaks, or the server refuses the command.
    pub async fn command(&mut self, words: &[impl AsRef<[u8]>]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter().map(AsRef::as_ref) {
            request.extend(format!("${}\r\n", word.len()).as_bytes());
            request.extend(word);
            request.extend(b"\r\n");
        }
        self.0.write_all(&request).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        let (kind, rest) = line.trim_end().split_at_checked(1).context("the connection has ended")?;
        match kind {
            "+" | ":" => Ok(Reply::Text(rest.to_owned())),
            "$" if rest == "-1" => Ok(Reply::Nil),
            "*" if rest == "-1" => Ok(Reply::Nil),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>()? + 2];
                self.0.read_exact(&mut text).await?;
                text.truncate(text.len() - 2);
                Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
            }
            "*" => {
                let mut items = Vec::new();
                for _ in 0..rest.parse::<usize>()? {
                    items.push(Box::pin(self.reply()).await?);
                }
                Ok(Reply::List(items))
            }
            _ => bail!("redis refuses: {rest}"),
        }
    }
}
