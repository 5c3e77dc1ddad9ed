//! `bond listen`: from a sentence to a line per event.

use std::io::{IsTerminal, Stdout, Write};
use std::time::Duration;

use bond_core::code;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error as WsError, http};

use self::readable::{readable, text};
use self::reconnect_wait::ReconnectWait;
use self::session::Session;
use super::client::{Refusal, RestClient, retry_after};
use super::printable::{escaped, escaped_json};
use crate::cli::ListenArgs;
use crate::failure::{Exit, Failure, Outcome};

mod readable;
mod reconnect_wait;
mod session;
#[cfg(test)]
mod tests;

/// How many attempts to create the stream are made if the server is busy, before the first event. After it there is no limit.
const FIRST_ATTEMPTS: u32 = 5;

/// Creates the stream and prints its events until `--count` is reached or the stream ends.
/// A lost connection is made again and goes on where it was.
///
/// # Errors
/// Where the sentence is not understood, the server cannot be reached, or the stream ends.
pub async fn run(args: &ListenArgs) -> Outcome {
    let color = !args.json && std::io::stdout().is_terminal();
    let mut listener = Listener::new(args, color, std::io::stdout());
    follow(&RestClient::new(&args.server)?, args, &mut listener).await
}

async fn follow<W: Write>(client: &RestClient, args: &ListenArgs, listener: &mut Listener<W>) -> Outcome {
    let created = listener.create(client, &args.text).await?;
    listener.introduce(&created);
    let path = format!("/v1/streams/{}/token", text(&created, "stream_id"));
    let mut url = Ok(text(&created, "ws_url").to_owned());
    loop {
        let ended = match url {
            Ok(url) => listener.session(&url).await,
            Err(refusal) => Ended::from(refusal),
        };
        match ended {
            Ended::Done => return Ok(()),
            Ended::Final(failure) => return Err(failure),
            Ended::Lost { reason, asked } => listener.rest(&reason, asked).await?,
        }
        // Each connection gets a new token, since the last one may have expired.
        url = client.ask(&path, &json!({})).await.map(|token| text(&token, "ws_url").to_owned());
    }
}

/// How a connection, or an attempt at one, ended.
enum Ended {
    Done,
    /// Connect again, not before the wait that the server asked for.
    Lost {
        reason: String,
        asked: Duration,
    },
    Final(Failure),
}

impl Ended {
    fn lost(reason: &str) -> Self {
        Self::Lost { reason: reason.to_owned(), asked: Duration::ZERO }
    }

    fn closed(code: u16, reason: &str, asked: Duration) -> Self {
        let message = format!("closed by the server: {code} {}", escaped(reason));
        match code::comes_back(code, reason) {
            true => Self::Lost { reason: message, asked },
            false => Self::Final(Failure::new(Exit::Refused, message)),
        }
    }

    fn refused<B>(answer: &http::Response<B>) -> Self {
        let status = answer.status();
        let message = format!("the server refused the connection: {status}");
        match code::status_comes_back(status.as_u16()) {
            true => Self::Lost { reason: message, asked: retry_after(answer.headers()) },
            false => Self::Final(Failure::new(Exit::Refused, message)),
        }
    }
}

impl From<WsError> for Ended {
    fn from(error: WsError) -> Self {
        match error {
            WsError::Http(answer) => Self::refused(&answer),
            error => Self::lost(&escaped(&error.to_string())),
        }
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        match refusal.again {
            Some(asked) => Self::Lost { reason: refusal.failure.message, asked },
            None => Self::Final(refusal.failure),
        }
    }
}

/// What has been printed so far, and how.
struct Listener<W = Stdout> {
    json: bool,
    color: bool,
    left: Option<u64>,
    seen: u64,
    position: Option<Position>,
    backoff: ReconnectWait,
    out: W,
}

/// The last event that was printed.
#[derive(PartialEq)]
struct Position {
    epoch: String,
    seq: u64,
}

impl<W: Write> Listener<W> {
    fn new(args: &ListenArgs, color: bool, out: W) -> Self {
        let backoff = ReconnectWait::new();
        Self { json: args.json, color, left: args.count, seen: 0, position: None, backoff, out }
    }

    /// The stream of this sentence. A server that cannot be reached is told of at once, one that is busy is asked a few times.
    async fn create(&mut self, client: &RestClient, sentence: &str) -> Result<Value, Failure> {
        let mut attempt = 1;
        loop {
            match client.ask("/v1/streams", &json!({ "natural_language": sentence })).await {
                Ok(created) => return Ok(created),
                Err(Refusal { failure, again: Some(asked) })
                    if attempt < FIRST_ATTEMPTS && failure.exit == Exit::Refused =>
                {
                    self.rest(&failure.message, asked).await?;
                }
                Err(refusal) => return Err(refusal.failure),
            }
            attempt += 1;
        }
    }

    fn introduce(&self, created: &Value) {
        if !self.json {
            let spec = created.get("spec").unwrap_or(&Value::Null).to_string();
            eprintln!("stream {}  {}", escaped(text(created, "stream_id")), escaped(&spec));
        }
    }

    /// Says why, and waits before the next attempt.
    async fn rest(&mut self, reason: &str, asked: Duration) -> Outcome {
        let chance = getrandom::u32().map_err(|error| Failure::new(Exit::Failed, error))?;
        let wait = self.backoff.wait(chance, asked);
        eprintln!("connection lost ({reason}); connecting again in {:.1} s", wait.as_secs_f64());
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn session(&mut self, url: &str) -> Ended {
        let from = self.position.as_ref().map(|at| format!("&from={}:{}", at.epoch, at.seq));
        let url = format!("{url}&control=true{}", from.unwrap_or_default());
        let mut session = match Session::open(&url).await {
            Ok(session) => session,
            Err(ended) => return ended,
        };
        loop {
            match session.frame().await {
                Ok(frame) if self.take(&frame) => {
                    session.close().await;
                    return Ended::Done;
                }
                Ok(_) => {}
                Err(ended) => return ended,
            }
        }
    }

    /// Prints a frame. Whether it was the last one wanted.
    fn take(&mut self, frame: &str) -> bool {
        let event: Value = serde_json::from_str(frame).unwrap_or(Value::Null);
        if let (Some(epoch), Some(seq)) = (event["epoch"].as_str(), event["seq"].as_u64()) {
            if self.position.as_ref().is_some_and(|at| at.epoch == epoch && at.seq >= seq) {
                return false;
            }
            self.position = Some(Position { epoch: epoch.to_owned(), seq });
            self.seen += 1;
            self.backoff.progress();
        } else if self.json || event["type"] == "heartbeat" {
            return false;
        }
        let line = if self.json { escaped_json(frame) } else { readable(&event, self.color) };
        if writeln!(self.out, "{line}").and_then(|()| self.out.flush()).is_err() {
            return true;
        }
        self.left.is_some_and(|left| self.seen >= left)
    }
}
