//! OKX v5, public channels.
//!
//! Source: OKX API v5 docs (overview, order book trading, error codes), read 2026-11.

use serde_json::{Value, json};

use super::{Client, Opening, Output, Protocol};
use crate::clock::UnixNanos;

/// Subscribe, unsubscribe and login requests that a connection may make in an hour.
const REQUESTS_PER_HOUR: usize = 480;
const HOUR: u64 = 3_600_000_000_000;
/// Bytes of one request.
const LONGEST_REQUEST: usize = 64 * 1024;

/// Channels of the public address that name an instrument.
const BY_INSTRUMENT: [&str; 8] =
    ["trades", "tickers", "books", "bbo-tbt", "books5", "funding-rate", "mark-price", "open-interest"];
/// Channels that need a login.
const WITH_LOGIN: [&str; 2] = ["books-l2-tbt", "books50-l2-tbt"];
const INSTRUMENT_TYPES: [&str; 4] = ["SWAP", "FUTURES", "MARGIN", "OPTION"];

pub(crate) struct Okx;

impl Protocol for Okx {
    fn open(&self, path: &str, _: &str) -> Option<Opening> {
        (path == "/ws/v5/public").then(Opening::default)
    }

    fn receive(
        &self,
        client: &mut Client,
        text: &str,
        lists: &dyn Fn(&str) -> bool,
        now: UnixNanos,
    ) -> Vec<Output> {
        if text == "ping" {
            return vec![Output::Reply("pong".to_owned())];
        }
        let Some((request, args)) = parse(text) else {
            let message = format!("Invalid request: {}", text.chars().take(200).collect::<String>());
            return vec![Output::Reject(error(client, None, "60012", &message))];
        };
        if client.exceeds(REQUESTS_PER_HOUR, HOUR, now) {
            return vec![Output::Reject(error(
                client,
                request.id.as_ref(),
                "60014",
                "Requests too frequent",
            ))];
        }
        args.iter().map(|arg| answer(client, &request, arg, lists)).collect()
    }

    fn notice(&self, client: &Client, _: UnixNanos) -> Option<String> {
        let notice = json!({
            "event": "notice",
            "code": "64008",
            "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
            "connId": client.connection_id(),
        });
        Some(notice.to_string())
    }
}

struct Request {
    id: Option<Value>,
    subscribe: bool,
}

/// `None` for what the venue answers with 60012.
fn parse(text: &str) -> Option<(Request, Vec<Value>)> {
    let value: Value = serde_json::from_str(text).ok().filter(|_| text.len() <= LONGEST_REQUEST)?;
    let subscribe = match value.get("op")?.as_str()? {
        "subscribe" => true,
        "unsubscribe" => false,
        _ => return None,
    };
    let args = value.get("args")?.as_array().filter(|args| !args.is_empty())?.clone();
    let id = value.get("id").cloned();
    id.as_ref().is_none_or(valid_id).then_some((Request { id, subscribe }, args))
}

/// 1 to 32 letters and digits.
fn valid_id(id: &Value) -> bool {
    let fits = |id: &str| (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    id.as_str().is_some_and(fits)
}

fn answer(client: &Client, request: &Request, arg: &Value, lists: &dyn Fn(&str) -> bool) -> Output {
    let id = request.id.as_ref();
    let stream = match stream(arg, lists) {
        Ok(stream) => stream,
        Err((code, message)) => return Output::Reject(error(client, id, code, &message)),
    };
    let event = if request.subscribe { "subscribe" } else { "unsubscribe" };
    let ack = event_message(client, id, event, &format!("\"arg\":{arg}"));
    let streams = vec![stream];
    if !request.subscribe {
        return Output::Unsubscribe { streams, ack };
    }
    let (code, message) = wrong_channel(arg);
    Output::Subscribe { streams, ack, refusals: vec![error(client, id, code, &message)] }
}

/// The stream's name in this crate, `channel/instId` or `channel/instType`; or the venue's error.
fn stream(arg: &Value, lists: &dyn Fn(&str) -> bool) -> Result<String, (&'static str, String)> {
    let text = |name: &str| arg.get(name).and_then(Value::as_str);
    let channel = text("channel").ok_or_else(|| ("60013", format!("Invalid args: {arg}")))?;
    if WITH_LOGIN.contains(&channel) {
        return Err(("60011", "Please log in".to_owned()));
    }
    let subject = match (channel, text("instId"), text("instType")) {
        ("liquidation-orders", _, Some(kind)) => INSTRUMENT_TYPES.contains(&kind).then_some(kind),
        (_, Some(instrument), _) if BY_INSTRUMENT.contains(&channel) => {
            Some(instrument).filter(|name| lists(name))
        }
        _ => None,
    };
    subject.map(|subject| format!("{channel}/{subject}")).ok_or_else(|| wrong_channel(arg))
}

fn wrong_channel(arg: &Value) -> (&'static str, String) {
    let text = |name: &str| arg.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = format!(
        "Wrong URL or channel:{},instId:{} doesn't exist. Please use the correct URL, channel and parameters referring to API \
         document.",
        text("channel"),
        text("instId"),
    );
    ("60018", message)
}

fn error(client: &Client, id: Option<&Value>, code: &str, message: &str) -> String {
    event_message(client, id, "error", &format!("\"code\":\"{code}\",\"msg\":{}", json!(message)))
}

fn event_message(client: &Client, id: Option<&Value>, event: &str, middle: &str) -> String {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    format!("{{{id}\"event\":\"{event}\",{middle},\"connId\":\"{}\"}}", client.connection_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(text: &str) -> Vec<Output> {
        let mut client = Client::new(1, Opening::default());
        Okx.receive(&mut client, text, &|name| name == "BTC-USDT", 0)
    }

    fn code(text: &str) -> String {
        match receive(text).remove(0) {
            Output::Reject(reply) => {
                serde_json::from_str::<Value>(&reply).unwrap()["code"].as_str().unwrap().to_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_argument_is_acknowledged_by_itself() {
        let outputs = receive(
            r#"{"id":"15","op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"},{"channel":"books","instId":"BTC-USDT"}]}"#,
        );
        assert_eq!(outputs.len(), 2);
        let Output::Subscribe { streams, ack, .. } = &outputs[1] else { panic!("{outputs:?}") };
        assert_eq!(streams, &["books/BTC-USDT"]);
        let ack: Value = serde_json::from_str(ack).unwrap();
        assert_eq!(
            (&ack["event"], &ack["id"], &ack["arg"]["channel"]),
            (&json!("subscribe"), &json!("15"), &json!("books"))
        );
    }

    #[test]
    fn errors_have_the_codes_of_the_venue() {
        assert_eq!(code(r#"{"op":"subscribe","args":[{"channel":"trades","instId":"BTC-EURO"}]}"#), "60018");
        assert_eq!(
            code(r#"{"op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}"#),
            "60018"
        );
        assert_eq!(
            code(r#"{"op":"subscribe","args":[{"channel":"books-l2-tbt","instId":"BTC-USDT"}]}"#),
            "60011"
        );
        assert_eq!(code(r#"{"op":"subscribe","args":[{"instId":"BTC-USDT"}]}"#), "60013");
        assert_eq!(code(r#"{"op":"buy"}"#), "60012");
        assert_eq!(code("{"), "60012");
    }

    #[test]
    fn a_text_ping_gets_a_text_pong() {
        assert_eq!(receive("ping"), [Output::Reply("pong".to_owned())]);
    }

    #[test]
    fn the_481st_request_of_an_hour_is_refused() {
        let mut client = Client::new(1, Opening::default());
        let text = r#"{"op":"subscribe","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#;
        let mut outputs = (0..481).map(|_| Okx.receive(&mut client, text, &|_| true, 0).remove(0));
        assert!(outputs.by_ref().take(480).all(|output| matches!(output, Output::Subscribe { .. })));
        assert!(matches!(outputs.next(), Some(Output::Reject(reply)) if reply.contains("60014")));
    }
}
