//! A client that notes when each trade came.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memchr::memmem;

use super::TradeKey;
use crate::clock;
use crate::frame::{self, FrameReader, FrameSink};
use crate::upgrade::{self, Endpoint};

/// Where the identity of a trade stands in a message.
#[derive(Clone, Copy, Debug)]
pub struct TradeFields {
    /// What precedes the market: `"symbol":"`.
    pub market: &'static str,
    /// What precedes the id: `"trade_id":"`.
    pub id: &'static str,
}

/// Subscribes with `hello`, if any, reads for as long as `duration`, and answers when each trade came (Unix
/// nanoseconds).
///
/// # Errors
/// The server refuses or closes the connection.
pub fn watch(
    endpoint: &Endpoint,
    hello: Option<&str>,
    fields: TradeFields,
    duration: Duration,
) -> Result<HashMap<TradeKey, u64>> {
    let mut stream = TcpStream::connect(endpoint.address)?;
    stream.set_nodelay(true)?;
    let mut watcher = Watcher { fields, received: 0, text: Vec::new(), arrivals: HashMap::new() };
    let mut reader = FrameReader::default();
    reader.feed(&upgrade::upgrade(&mut stream, endpoint)?, &mut watcher);
    if let Some(hello) = hello {
        stream.write_all(&frame::client_frame(frame::TEXT, hello.as_bytes()))?;
    }
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    read(&mut stream, &mut reader, &mut watcher, duration)?;
    Ok(watcher.arrivals)
}

fn read(
    stream: &mut TcpStream,
    reader: &mut FrameReader,
    watcher: &mut Watcher,
    duration: Duration,
) -> Result<()> {
    let start = Instant::now();
    let mut buffer = vec![0; 256 * 1024];
    while start.elapsed() < duration {
        match stream.read(&mut buffer) {
            Ok(length) => {
                ensure!(length > 0, "server closed the connection");
                watcher.received = clock::unix_nanos();
                reader.feed(&buffer[..length], watcher);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Watcher {
    fields: TradeFields,
    received: u64,
    text: Vec<u8>,
    arrivals: HashMap<TradeKey, u64>,
}

impl FrameSink for Watcher {
    fn payload(&mut self, opcode: u8, piece: &[u8]) {
        if opcode < frame::CLOSE {
            self.text.extend_from_slice(piece);
        }
    }

    fn end(&mut self, opcode: u8, last: bool) {
        if opcode < frame::CLOSE && last {
            if let Some(key) = trade_key(&self.text, self.fields) {
                self.arrivals.entry(key).or_insert(self.received);
            }
            self.text.clear();
        }
    }
}

fn trade_key(message: &[u8], fields: TradeFields) -> Option<TradeKey> {
    Some(TradeKey::new(value_after(message, fields.market)?, value_after(message, fields.id)?))
}

/// The text between `key` and the next quote, comma or brace.
fn value_after<'a>(message: &'a [u8], key: &str) -> Option<&'a str> {
    let value = &message[memmem::find(message, key.as_bytes())? + key.len()..];
    let end = value.iter().position(|byte| matches!(byte, b'"' | b',' | b'}'))?;
    std::str::from_utf8(&value[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_venues_message_and_ours_name_the_same_trade() {
        let venue = br#"{"e":"trade","E":1,"s":"BTCUSDT","t":42,"p":"1.0"}"#;
        let ours = br#"{"type":"trade","symbol":"BTC/USDT","trade_id":"42"}"#;
        let of_venue = TradeFields { market: "\"s\":\"", id: "\"t\":" };
        let of_bond = TradeFields { market: "\"symbol\":\"", id: "\"trade_id\":\"" };
        assert_eq!(trade_key(venue, of_venue), trade_key(ours, of_bond));
        assert!(trade_key(venue, of_venue).is_some());
    }

    #[test]
    fn a_message_without_a_trade_is_none() {
        let fields = TradeFields { market: "\"symbol\":\"", id: "\"trade_id\":\"" };
        assert!(trade_key(br#"{"type":"heartbeat","symbol":""}"#, fields).is_none());
    }
}
