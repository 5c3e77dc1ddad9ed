//! `bond listen`: from a sentence to a line per event.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::client::Client;
use super::{Exit, Failure, Outcome};
use crate::cli::ListenArgs;

/// The longest wait between two attempts to connect again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Creates the stream and prints its events until `--count` is reached or the stream ends.
/// A lost connection is made again, and goes on where it was.
///
/// # Errors
/// Where the sentence is not understood, the server cannot be reached, or the stream ends.
pub async fn run(args: &ListenArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let created = client.post("/v1/streams", &json!({ "natural_language": args.text })).await?;
    let stream_id = text(&created, "stream_id").to_owned();
    let mut listener = Listener::new(args);
    listener.introduce(&created);
    let mut url = text(&created, "ws_url").to_owned();
    let mut wait = Duration::from_millis(200);
    loop {
        let before = listener.seen;
        match listener.session(&url).await {
            Ended::Done => return Ok(()),
            Ended::Final(failure) => return Err(failure),
            Ended::Lost(reason) => eprintln!("connection lost ({reason}); connecting again"),
        }
        wait = if listener.seen > before { Duration::from_millis(200) } else { (wait * 2).min(LONGEST_WAIT) };
        tokio::time::sleep(wait).await;
        if let Ok(token) = client.post(&format!("/v1/streams/{stream_id}/token"), &json!({})).await {
            url = text(&token, "ws_url").to_owned();
        }
    }
}

/// How a connection ended.
enum Ended {
    Done,
    Lost(String),
    Final(Failure),
}

/// What has been printed so far, and how.
struct Listener {
    json: bool,
    color: bool,
    left: Option<u64>,
    seen: u64,
    position: Option<String>,
}

impl Listener {
    fn new(args: &ListenArgs) -> Self {
        let color = !args.json && std::io::stdout().is_terminal();
        Self { json: args.json, color, left: args.count, seen: 0, position: None }
    }

    fn introduce(&self, created: &Value) {
        if !self.json {
            eprintln!(
                "stream {}  {}",
                text(created, "stream_id"),
                created.get("spec").unwrap_or(&Value::Null)
            );
        }
    }

    async fn session(&mut self, url: &str) -> Ended {
        let from = self.position.as_deref().map_or_else(String::new, |position| format!("&from={position}"));
        let url = format!("{url}&control=true{from}");
        let mut socket = match tokio_tungstenite::connect_async(&url).await {
            Ok((socket, _)) => socket,
            Err(WsError::Http(answer)) if answer.status().is_client_error() => {
                let message = format!("the server refused the connection: {}", answer.status());
                return Ended::Final(Failure::new(Exit::Refused, message));
            }
            Err(error) => return Ended::Lost(error.to_string()),
        };
        while let Some(message) = socket.next().await {
            match message {
                Ok(Message::Text(frame)) => {
                    if self.take(&frame) {
                        let _ = socket.close(None).await;
                        return Ended::Done;
                    }
                }
                Ok(Message::Close(Some(close))) => return closed(close.code.into(), &close.reason),
                Ok(_) => {}
                Err(error) => return Ended::Lost(error.to_string()),
            }
        }
        Ended::Lost("closed without a word".to_owned())
    }

    /// Prints a frame. Whether it was the last one wanted.
    fn take(&mut self, frame: &str) -> bool {
        let event: Value = serde_json::from_str(frame).unwrap_or(Value::Null);
        if let (Some(epoch), Some(seq)) = (event["epoch"].as_str(), event["seq"].as_u64()) {
            self.position = Some(format!("{epoch}:{seq}"));
            self.seen += 1;
        } else if self.json || event["type"] == "heartbeat" {
            return false;
        }
        let line = if self.json { frame.to_owned() } else { readable(&event, self.color) };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return true;
        }
        self.left.is_some_and(|left| self.seen >= left)
    }
}

fn closed(code: u16, reason: &str) -> Ended {
    match code {
        1008 | 4500..=4999 => {
            Ended::Final(Failure::new(Exit::Refused, format!("closed by the server: {code} {reason}")))
        }
        _ => Ended::Lost(format!("{code} {reason}")),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// One line for people: the time, the symbol, and what matters of this kind of event.
fn readable(event: &Value, color: bool) -> String {
    let clock = text(event, "ts").get(11..23).unwrap_or_default();
    let symbol = text(event, "symbol");
    let detail = match text(event, "type") {
        "aggregate" => aggregate(event),
        "trade" => fields(event, &["exchange", "side", "price", "size"]),
        "ticker" => fields(event, &["exchange", "bid", "ask", "last", "mark"]),
        "orderbook" => format!("{} {} x {}", text(event, "exchange"), top(event, "bids"), top(event, "asks")),
        "funding" => fields(event, &["exchange", "rate", "next_time", "mark"]),
        "liquidation" => fields(event, &["exchange", "side", "price", "size"]),
        "tweet" => fields(event, &["author", "text"]),
        "status" => fields(event, &["source", "state", "reason"]),
        _ => event.to_string(),
    };
    match color {
        true => {
            format!("\x1b[2m{clock}\x1b[0m \x1b[1m{symbol:<10}\x1b[0m {:<9} {detail}", text(event, "type"))
        }
        false => format!("{clock} {symbol:<10} {:<9} {detail}", text(event, "type")),
    }
}

fn aggregate(event: &Value) -> String {
    let shown = fields(
        event,
        &[
            "price_avg",
            "price_open",
            "price_high",
            "price_low",
            "price_close",
            "volume_sum",
            "tweets",
            "custom_count",
        ],
    );
    let incomplete = if event["complete"] == json!(false) { "  incomplete" } else { "" };
    let simulated = if event["raw_data"]["simulated"] == json!(true) { "  simulated" } else { "" };
    format!("{shown}{incomplete}{simulated}")
}

fn top(event: &Value, side: &str) -> String {
    event[side][0].as_array().map_or_else(|| "-".to_owned(), |level| format!("{}@{}", level[1], level[0]))
}

/// `name=value` of the fields that are there and not null; text without quotes.
fn fields(event: &Value, names: &[&str]) -> String {
    let shown = names.iter().filter_map(|name| match event.get(*name)? {
        Value::Null => None,
        Value::String(value) => Some(format!("{name}={value}")),
        value => Some(format!("{}={value}", name.trim_start_matches("price_"))),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aggregate_reads_as_one_line() {
        let event = json!({"type": "aggregate", "symbol": "BTC/USDT", "ts": "2026-11-21T10:00:05.000Z", "price_avg": 1.5,
            "volume_sum": 2, "tweets": 3, "price_open": null, "complete": false, "raw_data": {"simulated": true}});
        assert_eq!(
            readable(&event, false),
            "10:00:05.000 BTC/USDT   aggregate avg=1.5 volume_sum=2 tweets=3  incomplete  simulated"
        );
    }
}
