//! Bybit v5, public topics.
//!
//! Source: Bybit v5 WebSocket docs, read 2026-11.

use serde_json::{Value, json};

use super::{Client, Opening, Output, Protocol};
use crate::clock::UnixNanos;
use crate::config::Market;

/// Characters that all topics of one connection may have.
const LONGEST_ARGS: usize = 21_000;
/// Topics in one request on spot.
const MOST_SPOT_ARGS: usize = 10;

pub(crate) struct Bybit {
    pub(crate) market: Market,
}

impl Protocol for Bybit {
    fn open(&self, path: &str, _: &str) -> Option<Opening> {
        let own = if self.market == Market::Spot { "/v5/public/spot" } else { "/v5/public/linear" };
        (path == own).then(Opening::default)
    }

    fn receive(
        &self,
        client: &mut Client,
        text: &str,
        lists: &dyn Fn(&str) -> bool,
        _: UnixNanos,
    ) -> Vec<Output> {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let op = request.get("op").and_then(Value::as_str).unwrap_or_default();
        let reply =
            Reply { client, id: request.get("req_id").and_then(Value::as_str).unwrap_or_default(), op };
        let output = match op {
            "ping" => Output::Reply(reply.write(true, "pong")),
            "subscribe" | "unsubscribe" => self.change(&reply, request.get("args"), lists),
            _ => Output::Reject(reply.write(false, "error:handler not found")),
        };
        vec![output]
    }

    /// Bybit announces nothing.
    fn notice(&self, _: &Client, _: UnixNanos) -> Option<String> {
        None
    }
}

struct Reply<'a> {
    client: &'a Client,
    id: &'a str,
    op: &'a str,
}

impl Reply<'_> {
    fn write(&self, success: bool, message: &str) -> String {
        json!({
            "success": success,
            "ret_msg": message,
            "conn_id": self.client.connection_id(),
            "req_id": self.id,
            "op": self.op,
        })
        .to_string()
    }
}

impl Bybit {
    /// One topic that does not exist fails the whole request.
    fn change(&self, reply: &Reply<'_>, args: Option<&Value>, lists: &dyn Fn(&str) -> bool) -> Output {
        let topics: Option<Vec<String>> = args
            .and_then(Value::as_array)
            .and_then(|args| args.iter().map(|topic| topic.as_str().map(str::to_owned)).collect());
        let reject = |message: &str| Output::Reject(reply.write(false, message));
        let Some(streams) = topics.filter(|topics| !topics.is_empty()) else {
            return reject("error:request args is empty or not a list of topics");
        };
        if let Some(message) = self.too_much(reply.client, &streams) {
            return reject(message);
        }
        if let Some(wrong) = streams.iter().find(|topic| !self.exists(topic, lists)) {
            return reject(&format!("error:handler not found,topic:{wrong}"));
        }
        let message = if self.market == Market::Spot { reply.op } else { "" };
        let ack = reply.write(true, message);
        if reply.op == "unsubscribe" {
            return Output::Unsubscribe { streams, ack };
        }
        let refusal = |topic: &String| reply.write(false, &format!("Invalid symbol :[{topic}]"));
        let refusals = streams.iter().map(refusal).collect();
        Output::Subscribe { streams, ack, refusals }
    }

    fn too_much(&self, client: &Client, topics: &[String]) -> Option<&'static str> {
        if self.market == Market::Spot && topics.len() > MOST_SPOT_ARGS {
            return Some("args size >10");
        }
        let length: usize = client.streams.iter().chain(topics).map(String::len).sum();
        (length > LONGEST_ARGS).then_some("error:args length exceeds 21000")
    }

    fn exists(&self, topic: &str, lists: &dyn Fn(&str) -> bool) -> bool {
        let Some((channel, symbol)) = topic.rsplit_once('.') else {
            return false;
        };
        let channel_exists = match channel {
            "orderbook.1" | "orderbook.50" | "orderbook.200" | "orderbook.1000" | "publicTrade"
            | "tickers" => true,
            "allLiquidation" => self.market == Market::Perpetual,
            _ => false,
        };
        channel_exists && lists(symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(market: Market, text: &str) -> Output {
        let mut client = Client::new(1, Opening::default());
        Bybit { market }.receive(&mut client, text, &|name| name == "BTCUSDT", 0).remove(0)
    }

    fn message(output: &Output) -> (bool, String) {
        let (Output::Reject(text) | Output::Reply(text) | Output::Subscribe { ack: text, .. }) = output
        else {
            panic!("{output:?}")
        };
        let value: Value = serde_json::from_str(text).unwrap();
        (value["success"].as_bool().unwrap(), value["ret_msg"].as_str().unwrap().to_owned())
    }

    #[test]
    fn the_two_markets_acknowledge_differently() {
        let text = r#"{"req_id":"x","op":"subscribe","args":["orderbook.50.BTCUSDT"]}"#;
        assert_eq!(message(&receive(Market::Spot, text)), (true, "subscribe".to_owned()));
        assert_eq!(message(&receive(Market::Perpetual, text)), (true, String::new()));
    }

    #[test]
    fn spot_takes_ten_topics_at_a_time() {
        let topics = vec!["publicTrade.BTCUSDT"; 11];
        let text = json!({"op": "subscribe", "args": topics}).to_string();
        assert_eq!(message(&receive(Market::Spot, &text)), (false, "args size >10".to_owned()));
        assert!(message(&receive(Market::Perpetual, &text)).0);
    }

    #[test]
    fn a_wrong_topic_fails_the_request() {
        for topic in ["publicTrade.BTCEUR", "orderbook.500.BTCUSDT", "allLiquidation.BTCUSDT", "nonsense"] {
            let text = json!({"op": "subscribe", "args": ["publicTrade.BTCUSDT", topic]}).to_string();
            assert!(!message(&receive(Market::Spot, &text)).0, "{topic}");
        }
    }

    #[test]
    fn a_ping_is_answered() {
        assert_eq!(message(&receive(Market::Spot, r#"{"op":"ping"}"#)), (true, "pong".to_owned()));
    }
}
