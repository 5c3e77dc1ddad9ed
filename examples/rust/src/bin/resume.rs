//! A client that resumes: it connects again after every loss that may pass, and goes on after the last event that it has.
//!
//! `cargo run -p bond-examples --bin resume [COUNT]`

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bond_examples::{count, create, server};
use futures_util::StreamExt;
use reqwest::Client;
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What the client has so far.
#[derive(Default)]
struct Progress {
    epoch: String,
    seq: u64,
    left: usize,
}

/// How a connection ended.
enum End {
    /// Enough events came.
    Enough,
    /// It was lost; connecting again may help.
    Lost(String),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let http = Client::new();
    let created = create(&http, "BTC trades tick by tick").await?;
    let id = created["stream_id"].as_str().context("no stream_id")?;
    let mut progress = Progress { left: count(50)?, ..Progress::default() };
    let mut wait = FIRST_WAIT;
    loop {
        let before = progress.left;
        let reason = match follow(&http, id, &mut progress).await? {
            End::Enough => return Ok(()),
            End::Lost(reason) => reason,
        };
        if progress.left < before {
            wait = FIRST_WAIT;
        }
        eprintln!("connection lost ({reason}); connecting again in {wait:?}");
        tokio::time::sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
    }
}

/// Follows the stream by one connection. An error is final.
async fn follow(http: &Client, id: &str, progress: &mut Progress) -> Result<End> {
    // A fresh token for each connection: the last one may have expired.
    let answer = match http.post(format!("{}/v1/streams/{id}/token", server())).send().await {
        Ok(answer)
            if answer.status().is_client_error() && !matches!(answer.status().as_u16(), 408 | 425 | 429) =>
        {
            bail!("refused: {}", answer.text().await?)
        }
        Ok(answer) if answer.status().is_success() => answer,
        Ok(answer) => return Ok(End::Lost(answer.status().to_string())),
        Err(error) => return Ok(End::Lost(error.to_string())),
    };
    let Ok(token) = answer.json::<Value>().await else { return Ok(End::Lost("no token".to_owned())) };
    let mut url = format!("{}&control=true", token["ws_url"].as_str().context("no ws_url")?);
    if progress.seq > 0 {
        url += &format!("&from={}:{}", progress.epoch, progress.seq);
    }
    let mut socket = match connect_async(url).await {
        Ok((socket, _)) => socket,
        Err(error) => return Ok(End::Lost(error.to_string())),
    };
    while progress.left > 0 {
        match socket.next().await {
            Some(Ok(Message::Text(frame))) => progress.take(&serde_json::from_str(&frame)?),
            Some(Ok(Message::Close(Some(close)))) if is_final(&close) => bail!("closed with {close}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Ok(End::Lost(error.to_string())),
            None => return Ok(End::Lost("closed".to_owned())),
        }
    }
    Ok(End::Enough)
}

impl Progress {
    fn take(&mut self, event: &Value) {
        let (epoch, seq) = (event["epoch"].as_str().unwrap_or_default(), event["seq"].as_u64().unwrap_or(0));
        // Resuming may bring an event again: its number is not above the last one's.
        let is_new = epoch != self.epoch || seq > self.seq;
        match event["type"].as_str() {
            Some("trade") if is_new => {
                println!("{epoch}:{seq}\t{}", event["price"]);
                (self.epoch, self.seq, self.left) = (epoch.to_owned(), seq, self.left - 1);
            }
            Some("gap") => eprintln!("a gap: events up to {epoch}:{} cannot be had", event["to_seq"]),
            _ => {}
        }
    }
}

/// Whether it is of no use to come back: see "How a connection ends" in docs/protocol.md.
fn is_final(close: &CloseFrame) -> bool {
    let passes = [
        "AUTH_EXPIRED",
        "LIMIT_EXCEEDED",
        "RATE_LIMIT_EXCEEDED",
        "SLOW_CONSUMER",
        "CONNECTION_ERROR",
        "INTERNAL_ERROR",
    ];
    let code = u16::from(close.code);
    (code == 1008 && !passes.iter().any(|code| close.reason.starts_with(code)))
        || (4500..=4999).contains(&code)
}
