//! Where a Bond under test runs, and in what the hosts differ as far as clients can tell.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::api::{Api, ws_url};
use crate::numbers::{Head, Numbers};
use crate::process::binary;
use crate::socket::{Came, Socket};

/// What the issuer of tokens for topics signs with.
pub const ISSUER_SECRET: &str = "what-the-issuer-signs-with-4-e2e";

/// How a client is told that its token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The connection is opened, and closed with this code.
    Close(u16),
    /// The handshake is answered with the status that says why: `$connect` cannot open a connection to close it.
    Handshake,
}

/// How a connection to a stream that ended is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a code of Bond's own.
    Code(u16),
    /// As API Gateway closes what is deleted by `@connections`: with a code of its own.
    Platform,
}

/// In what a host differs, and how hard it is driven.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// Its name in reports.
    pub name: &'static str,
    /// How a refused token is told.
    pub refusal: Refusal,
    /// How the end of a stream is told.
    pub ending: Ending,
    /// Whether `ping` is answered by the platform itself, which knows neither `ts` nor `correlation_id`.
    pub mock_pong: bool,
    /// Events a second of each simulated venue.
    pub rate: u32,
    /// Joins of the past and the present, one after another.
    pub joins: usize,
}

/// A host: its REST interface, where feeds are opened, and its traits.
pub struct Host {
    /// The REST interface.
    pub api: Api,
    /// The URL of a feed, with its query begun.
    pub feed_url: String,
    /// The URL of topics, with its query begun, where the host trusts whoever has [`ISSUER_SECRET`].
    pub topics_url: Option<String>,
    /// In what it differs.
    pub traits: Traits,
}

/// A connection to one stream, and where it is in the stream's log.
pub struct Reader {
    /// The connection.
    pub socket: Socket,
    /// What was read.
    pub numbers: Numbers,
}

impl Host {
    /// Connects to a created stream; `more` goes on with the query, such as `&from=now-5s`.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub async fn read(&self, created: &Value, more: &str) -> Result<Reader> {
        Ok(Reader { socket: Socket::open(&ws_url(created, more)).await?, numbers: Numbers::default() })
    }

    /// Opens a feed with a token of whoever holds the host's key.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub async fn feed(&self, more: &str) -> Result<Socket> {
        let token = self.api.feed_token().await?;
        Socket::open(&format!("{}&token={token}{more}", self.feed_url)).await
    }

    /// Whether a connection with this URL is refused as the host refuses; `status` is that of the reason.
    ///
    /// # Errors
    /// Where it is not, with what happened instead.
    pub async fn refuses(&self, url: &str, status: u16) -> Result<()> {
        match (self.traits.refusal, Socket::open(url).await) {
            (Refusal::Close(code), Ok(mut socket)) => {
                let (closed, reason) = socket.closed().await?;
                ensure!(closed == code, "closed with {closed} {reason}");
                Ok(())
            }
            (Refusal::Handshake, Err(error)) => {
                let text = format!("{error:#}");
                ensure!(text.contains(&status.to_string()), "refused otherwise: {text}");
                Ok(())
            }
            (wanted, Ok(_)) => bail!("opened, where {wanted:?} was to come"),
            (wanted, Err(error)) => bail!("{wanted:?} was to come: {error:#}"),
        }
    }
}

/// A token for topics, as `bond token jwt` makes it with these words.
///
/// # Errors
/// Where it makes none.
pub async fn jwt(user: &str, words: &[&str]) -> Result<String> {
    let mut command = Command::new(binary());
    command.args(["token", "jwt", "--user", user]).args(words).env("BOND_JWT_SECRET", ISSUER_SECRET);
    let made = command.kill_on_drop(true).output().await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

impl Reader {
    /// The next new event; repeats are passed over, statuses and heartbeats too. A gap is an error.
    ///
    /// # Errors
    /// Where it does not follow the one before, or the connection ends.
    pub async fn next(&mut self) -> Result<Value> {
        loop {
            let text = self.socket.text().await?;
            let head = Head::read(&text)?;
            ensure!(head.kind != "gap", "a gap: {text}");
            if head.is_event() && self.numbers.take_once(&head).with_context(|| text.clone())? {
                return Ok(serde_json::from_str(&text)?);
            }
        }
    }

    /// Reads new events until number `seq`.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub async fn until(&mut self, seq: u64) -> Result<()> {
        while self.numbers.last < seq {
            self.next().await?;
        }
        Ok(())
    }

    /// Whether the host closes it as it closes what has ended.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ends(&mut self, ending: Ending) -> Result<()> {
        loop {
            match (ending, self.socket.next_within(Duration::from_secs(15)).await) {
                (_, Ok(Came::Frame(_))) => {}
                (Ending::Code(code), Ok(Came::Closed(closed, reason))) => {
                    ensure!(closed == code, "closed with {closed} {reason}");
                    return Ok(());
                }
                (Ending::Platform, Ok(Came::Closed(..))) => return Ok(()),
                (_, Err(error)) => return Err(error),
            }
        }
    }
}

/// A wish for a feed, as a message.
pub fn subscribe(wish: Value) -> Value {
    let mut message = wish;
    message["type"] = json!("subscribe");
    message
}
