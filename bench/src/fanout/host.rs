//! The server's side of a fan-out benchmark: orders on standard input, events stamped with the time they were due.
//!
//! A server prints `ready {address} {path}` once it accepts connections, then obeys one order a line:
//!
//! | order | answer | meaning |
//! |---|---|---|
//! | `publish {rate} {count}` | `published {number}` | `count` events at `rate` a second into the one stream; fewer if it fell a second behind |
//! | `settle` | `settled` | give back to the system what memory the runtime can |
//!
//! It exits at the end of its input, so that none outlives the benchmark.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;

/// Shortest pause between two looks at what is due.
const TICK: Duration = Duration::from_millis(1);

/// A publisher this far behind stops: the server is overloaded and the backlog would only grow.
const GIVE_UP_NANOS: u64 = 1_000_000_000;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A number of events at a steady pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Events per second.
    pub rate: u64,
    /// Events in all.
    pub count: u64,
}

impl Order {
    /// When event `number` (from 0) is due, in nanoseconds after the start.
    fn due_nanos(self, number: u64) -> u64 {
        (u128::from(number) * u128::from(NANOS_PER_SECOND) / u128::from(self.rate)) as u64
    }
}

/// Announces the server, then obeys orders until standard input ends; `publish` puts one event into the stream.
pub fn serve_orders(
    address: SocketAddr,
    path: &str,
    payload_bytes: usize,
    mut publish: impl FnMut(String),
) -> Result<()> {
    say(&format!("ready {address} {path}"))?;
    for line in io::stdin().lock().lines() {
        match parse_order(&line?)? {
            Some(order) => say(&format!("published {}", publish_paced(order, payload_bytes, &mut publish)))?,
            None => say("settled")?,
        }
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// `None` is `settle`: the allocator gives back by itself.
fn parse_order(line: &str) -> Result<Option<Order>> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["publish", rate, count] => Ok(Some(Order {
            rate: rate.parse::<u64>().context("rate is not a number")?.max(1),
            count: count.parse().context("count is not a number")?,
        })),
        ["settle"] => Ok(None),
        _ => bail!("unknown order: {line}"),
    }
}

/// Events are stamped with the time they were due, so that a publisher held up by its server counts against it.
fn publish_paced(order: Order, payload_bytes: usize, publish: &mut impl FnMut(String)) -> u64 {
    let start = clock::unix_nanos();
    let mut number = 0;
    while number < order.count {
        let elapsed = clock::unix_nanos().saturating_sub(start);
        let due = order.due_nanos(number);
        if elapsed < due {
            thread::sleep(Duration::from_nanos(due - elapsed).max(TICK));
            continue;
        }
        if elapsed - due > GIVE_UP_NANOS {
            break;
        }
        publish(event(start + due, number, payload_bytes));
        number += 1;
    }
    number
}

/// A trade-like JSON event of exactly `bytes` bytes where that is enough for its fields: `t` is the time it was due
/// (Unix nanoseconds), `n` its number.
pub fn event(t: u64, n: u64, bytes: usize) -> String {
    let fields = format!(
        r#"{{"t":{t},"n":{n},"type":"trade","exchange":"binance","symbol":"BTC/USDT","price":61837.63,"amount":0.02,"pad":""#
    );
    let padding = bytes.saturating_sub(fields.len() + 2);
    format!("{fields}{:x<padding$}\"}}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_ordered_size_and_is_json() {
        let event = event(1_723_161_253_937_085_768, 7, 150);
        assert_eq!(event.len(), 150);
        let value: serde_json::Value = serde_json::from_str(&event).expect("json");
        assert_eq!(value["n"], 7);
    }

    #[test]
    fn orders_are_read_strictly() {
        let order = Order { rate: 5, count: 9 };
        assert_eq!(parse_order("publish 5 9").expect("valid"), Some(order));
        assert_eq!(parse_order("settle").expect("valid"), None);
        assert!(parse_order("publish 5").is_err());
    }

    #[test]
    fn every_event_is_published_once_in_order() {
        let mut seen = Vec::new();
        let order = Order { rate: 1_000_000, count: 50 };
        assert_eq!(publish_paced(order, 150, &mut |event| seen.push(event)), 50);
        assert!(seen.iter().enumerate().all(|(n, event)| event.contains(&format!("\"n\":{n},"))));
    }
}
