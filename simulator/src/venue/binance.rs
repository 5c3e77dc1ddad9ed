//! Binance: spot streams and USD-M futures.
//!
//! Source: Binance spot `web-socket-streams.md` and USD-M WebSocket docs, read 2026-11.

use serde_json::{Value, json};

use super::{Client, Opening, Output, Protocol};
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;

/// Streams that one connection may listen to.
const MOST_STREAMS: usize = 1_024;

pub(crate) struct Binance {
    pub(crate) market: Market,
}

impl Protocol for Binance {
    fn open(&self, path: &str, query: &str) -> Option<Opening> {
        let (route, rest) = self.route(path)?;
        let names = |text: &str| text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if rest == "/stream" {
            let listed = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "streams");
            let streams = listed.map(|(_, value)| names(&value)).unwrap_or_default();
            return Some(Opening { route, combined: true, streams });
        }
        let streams = match rest.strip_prefix("/ws") {
            Some("" | "/") => Vec::new(),
            Some(streams) if streams.starts_with('/') => names(streams),
            _ => return None,
        };
        Some(Opening { route, combined: false, streams })
    }

    fn receive(
        &self,
        client: &mut Client,
        text: &str,
        _: &dyn Fn(&str) -> bool,
        _: UnixNanos,
    ) -> Vec<Output> {
        match parse(text) {
            Ok(request) => vec![answer(client, &request)],
            Err(reject) => vec![Output::Reject(reject)],
        }
    }

    /// USD-M: order books and best prices come on `/public`, everything else on `/market`; elsewhere a stream is silently dead.
    fn carries(&self, opening: &Opening, stream: &str) -> bool {
        let public =
            stream.contains("@depth") || stream.contains("@bookTicker") || stream.starts_with("!bookTicker");
        match opening.route {
            "public" => public,
            "market" => !public,
            _ => true,
        }
    }

    fn inbound_per_second(&self) -> Option<usize> {
        Some(if self.market == Market::Spot { 5 } else { 10 })
    }

    fn notice(&self, client: &Client, now: UnixNanos) -> Option<String> {
        let event = format!("{{\"e\":\"serverShutdown\",\"E\":{}}}", now / MILLI);
        let combined = format!("{{\"stream\":\"!serverShutdown\",\"data\":{event}}}");
        Some(if client.opening.combined { combined } else { event })
    }
}

impl Binance {
    fn route<'a>(&self, path: &'a str) -> Option<(&'static str, &'a str)> {
        if self.market == Market::Spot {
            return Some(("", path));
        }
        let public = path.strip_prefix("/public").map(|rest| ("public", rest));
        public.or_else(|| path.strip_prefix("/market").map(|rest| ("market", rest)))
    }
}

struct Request {
    method: String,
    params: Vec<Value>,
    id: Value,
}

fn error(code: u8, message: &str, id: Option<&Value>) -> String {
    let mut body = json!({"code": code, "msg": message});
    if let Some(id) = id {
        body["id"] = id.clone();
    }
    body.to_string()
}

fn parse(text: &str) -> Result<Request, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| error(3, &format!("Invalid JSON: {e}"), None))?;
    let id = value.get("id").cloned().unwrap_or(Value::Null);
    let invalid = |what: &str| error(2, &format!("Invalid request: {what}"), Some(&id));
    if !valid_id(&id) {
        return Err(error(
            2,
            "Invalid request: request ID must be an unsigned integer, a string or null",
            None,
        ));
    }
    let method = value.get("method").ok_or_else(|| invalid("missing field `method`"))?;
    let method = method.as_str().ok_or_else(|| invalid("invalid type for `method`: expected a string"))?;
    let params = match value.get("params") {
        None => Vec::new(),
        Some(Value::Array(params)) => params.clone(),
        Some(_) => return Err(invalid("invalid type for `params`: expected a sequence")),
    };
    Ok(Request { method: method.to_owned(), params, id })
}

/// An id is a 64-bit integer, at most 36 characters, or null.
fn valid_id(id: &Value) -> bool {
    match id {
        Value::Null => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::String(text) => text.len() <= 36,
        _ => false,
    }
}

fn answer(client: &mut Client, request: &Request) -> Output {
    match request.method.as_str() {
        "SUBSCRIBE" | "UNSUBSCRIBE" => change(client, request),
        "LIST_SUBSCRIPTIONS" => Output::Reply(result(json!(client.streams), &request.id)),
        "SET_PROPERTY" => set_property(client, request),
        "GET_PROPERTY" => get_property(client, request),
        other => {
            let message = format!(
                "Invalid request: unknown variant `{other}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, \
                 `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
            );
            Output::Reject(error(2, &message, Some(&request.id)))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called with a literal")]
fn result(result: Value, id: &Value) -> String {
    format!("{{\"result\":{result},\"id\":{id}}}")
}

/// Names of streams are not checked: an unknown one is accepted and stays silent (live measurements, 2026).
fn change(client: &Client, request: &Request) -> Output {
    let names: Option<Vec<String>> =
        request.params.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let Some(streams) = names.filter(|names| !names.is_empty()) else {
        return Output::Reject(error(
            2,
            "Invalid request: `params` must be a list of stream names",
            Some(&request.id),
        ));
    };
    let ack = result(Value::Null, &request.id);
    if request.method == "UNSUBSCRIBE" {
        return Output::Unsubscribe { streams, ack };
    }
    if client.streams.len() + streams.len() > MOST_STREAMS {
        return Output::Close { code: 1008, reason: "Too many streams" };
    }
    let refusal = error(2, "Invalid request: subscription refused", Some(&request.id));
    let refusals = vec![refusal; streams.len()];
    Output::Subscribe { streams, ack, refusals }
}

fn set_property(client: &mut Client, request: &Request) -> Output {
    match request.params.as_slice() {
        [Value::String(name), Value::Bool(value)] if name == "combined" => {
            client.opening.combined = *value;
            Output::Reply(result(Value::Null, &request.id))
        }
        [Value::String(name), _] if name == "combined" => {
            Output::Reject(error(1, "Invalid value type: expected Boolean", Some(&request.id)))
        }
        _ => Output::Reject(error(0, "Unknown property", Some(&request.id))),
    }
}

fn get_property(client: &Client, request: &Request) -> Output {
    match request.params.as_slice() {
        [Value::String(name)] if name == "combined" => {
            Output::Reply(result(json!(client.opening.combined), &request.id))
        }
        _ => Output::Reject(error(0, "Unknown property", Some(&request.id))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOT: Binance = Binance { market: Market::Spot };
    const FUTURES: Binance = Binance { market: Market::Perpetual };

    fn client() -> Client {
        Client::new(1, Opening::default())
    }

    fn receive(client: &mut Client, text: &str) -> Output {
        SPOT.receive(client, text, &|_| true, 0).remove(0)
    }

    #[test]
    fn addresses_are_those_of_the_venue() {
        assert_eq!(SPOT.open("/ws/btcusdt@trade", "").unwrap().streams, ["btcusdt@trade"]);
        let combined = SPOT.open("/stream", "streams=btcusdt@trade/btcusdt@depth@100ms").unwrap();
        assert!(combined.combined && combined.streams.len() == 2);
        assert!(SPOT.open("/public/ws", "").is_none());
        assert!(SPOT.open("/wsx", "").is_none());
        assert!(FUTURES.open("/ws", "").is_none());
        assert_eq!(FUTURES.open("/public/stream", "").unwrap().route, "public");
    }

    #[test]
    fn a_futures_stream_lives_on_one_path_only() {
        let public = FUTURES.open("/public/ws", "").unwrap();
        let market = FUTURES.open("/market/ws", "").unwrap();
        assert!(
            FUTURES.carries(&public, "btcusdt@depth@100ms")
                && !FUTURES.carries(&market, "btcusdt@depth@100ms")
        );
        assert!(
            FUTURES.carries(&market, "btcusdt@aggTrade") && !FUTURES.carries(&public, "btcusdt@aggTrade")
        );
    }

    #[test]
    fn malformed_requests_get_the_codes_of_the_venue() {
        let code = |text: &str| match receive(&mut client(), text) {
            Output::Reject(reply) => serde_json::from_str::<Value>(&reply).unwrap()["code"].as_u64(),
            other => panic!("{other:?}"),
        };
        assert_eq!(code("not json"), Some(3));
        assert_eq!(code("{\"method\":\"BUY\",\"id\":1}"), Some(2));
        assert_eq!(code("{\"id\":1}"), Some(2));
        assert_eq!(code("{\"method\":\"SUBSCRIBE\",\"params\":[],\"id\":1}"), Some(2));
        assert_eq!(code("{\"method\":\"SET_PROPERTY\",\"params\":[\"combined\",3],\"id\":1}"), Some(1));
        assert_eq!(code("{\"method\":\"GET_PROPERTY\",\"params\":[\"colour\"],\"id\":1}"), Some(0));
    }

    #[test]
    fn an_unknown_stream_is_accepted() {
        let output = receive(&mut client(), r#"{"method":"SUBSCRIBE","params":["btcusd@tarde"],"id":7}"#);
        let Output::Subscribe { streams, ack, .. } = output else { panic!("{output:?}") };
        assert_eq!((streams[0].as_str(), ack.as_str()), ("btcusd@tarde", r#"{"result":null,"id":7}"#));
    }

    #[test]
    fn more_than_1024_streams_close_the_connection() {
        let mut client = client();
        client.streams = (0..1_024).map(|n| n.to_string()).collect();
        let output = receive(&mut client, r#"{"method":"SUBSCRIBE","params":["one@more"],"id":7}"#);
        assert!(matches!(output, Output::Close { .. }));
    }
}
