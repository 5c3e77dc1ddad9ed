//! What a request for a connection says: its query, and the subprotocols that it offers.

use std::time::Duration;

use super::{Batch, FeedRequest, TopicStart};
use crate::code::Code;
use crate::message::{MOST_REWIND, MessageError, Rate, Subscribe};
use crate::position::Start;
use crate::time::UnixNanos;

/// The subprotocol that turns control messages and batches on.
pub const SUBPROTOCOL: &str = "bond.v1";

/// The events in a batch where the subprotocol asks for batches and no size is named.
const BATCH_SIZE: usize = 100;

/// The largest batch, in events.
const BATCH_LIMIT: usize = 1_000;

/// The longest that a batch may wait to fill.
const WAIT_LIMIT_MS: u64 = 1_000;

/// Whether [`SUBPROTOCOL`] is among the subprotocols that a client offers, in lists with commas.
pub fn offers_subprotocol<'a>(lists: impl IntoIterator<Item = &'a str>) -> bool {
    lists
        .into_iter()
        .flat_map(|list| list.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(SUBPROTOCOL))
}

/// A query, in order; names may come again.
#[derive(Clone, Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// These parameters, decoded.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of these names, lists taken apart at commas.
    fn list(&self, names: &[&str]) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| names.contains(&key.as_str()));
        let items = values.flat_map(|(_, value)| value.split(',')).map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "true" | "1" | "yes" | ""))
    }

    /// Whether statuses, gaps and the like are asked for.
    pub fn control(&self) -> bool {
        self.is_true("control")
    }

    /// Whether frames may be compressed, where the client offers it.
    pub fn compression(&self) -> bool {
        self.is_true("compression")
    }

    /// Where to begin. An unreadable `from` begins live, with an error.
    pub fn start(&self) -> (Start, Vec<MessageError>) {
        let Some(text) = self.get("from") else { return (Start::Live, Vec::new()) };
        match Start::parse(text) {
            Some(start) => (start, Vec::new()),
            None => {
                let advice =
                    format!("unreadable from: {text:.40}; write now-60s, Unix seconds, or epoch:seq");
                (Start::Live, vec![MessageError::new(Code::InvalidMessage, advice)])
            }
        }
    }

    /// Whether events are taken in batches, which the subprotocol does unless told otherwise.
    pub fn batch(&self, has_subprotocol: bool) -> Option<Batch> {
        let named = self.number("batch").map(|size| usize::try_from(size).unwrap_or(BATCH_LIMIT));
        let size = named.or(has_subprotocol.then_some(BATCH_SIZE)).filter(|size| *size > 0)?;
        let wait = Duration::from_millis(self.number("wait_ms").unwrap_or(0).min(WAIT_LIMIT_MS));
        Some(Batch { size: size.min(BATCH_LIMIT), wait })
    }

    /// What a feed that begins without a message wants from `since` on, and what of it is unknown.
    pub fn wish(&self, since: UnixNanos) -> (Option<FeedRequest>, Vec<MessageError>) {
        let message = Subscribe {
            channels: self.list(&["channels", "channel"]),
            symbols: self.list(&["symbols", "symbol"]),
            exchanges: self.list(&["exchanges", "exchange"]),
            depth: self.number("depth"),
            raw: self.is_true("raw"),
            speed: Duration::from_millis(self.number("speed_ms").unwrap_or(0)),
            ..Subscribe::default()
        };
        match message.filter() {
            Ok((filter, errors)) => (filter.map(|filter| FeedRequest::of(filter, &message, since)), errors),
            Err(refused) => (None, vec![refused]),
        }
    }
}

/// What a request for a connection to topics says.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicParameters {
    /// The topics that it names, besides those of its path.
    pub names: Vec<String>,
    /// From where the topic of its path is followed.
    pub start: TopicStart,
    /// The rate of all topics.
    pub rate: Option<Rate>,
    /// Whether the client begins with its screen off.
    pub is_background: bool,
    /// Whether frames are to be compressed.
    pub compression: bool,
    /// What of it cannot be read.
    pub errors: Vec<MessageError>,
}

impl Parameters {
    /// What it says of topics, of which the path names `of_path`.
    pub fn topics(&self, of_path: usize) -> TopicParameters {
        let names = self.list(&["topic", "topics"]);
        let mut errors = Vec::new();
        let start = self.topic_start(of_path + names.len(), &mut errors);
        TopicParameters {
            names,
            start,
            rate: self.topic_rate(&mut errors),
            is_background: self.is_true("background"),
            compression: self.is_true("compression"),
            errors,
        }
    }

    fn topic_start(&self, topics: usize, errors: &mut Vec<MessageError>) -> TopicStart {
        let names = ["resume_from_seq", "from", "rewind"];
        let Some(name) = names.into_iter().find(|name| self.get(name).is_some()) else {
            return TopicStart::State;
        };
        let text = self.get(name).unwrap_or_default();
        let mut refuse = |advice: String| {
            errors.push(MessageError::new(Code::InvalidMessage, advice));
            TopicStart::State
        };
        if topics != 1 && name != "rewind" {
            return refuse(format!(
                "{name} is for one topic: subscribe with resume_from_seq to each of several"
            ));
        }
        match name {
            "resume_from_seq" => match text.parse() {
                Ok(seq) => TopicStart::After(None, seq),
                Err(_) => refuse(format!(
                    "resume_from_seq is the number of the last event that you have, not {text:.40}"
                )),
            },
            "rewind" => match text.parse() {
                Ok(0) => TopicStart::State,
                Ok(count @ ..=MOST_REWIND) => TopicStart::Rewind(count),
                _ => refuse(format!("rewind is a number up to {MOST_REWIND}, not {text:.40}")),
            },
            _ => match Start::parse(text) {
                Some(Start::After(position)) => TopicStart::After(Some(position.epoch), position.seq),
                Some(Start::Live) => TopicStart::State,
                Some(start) => TopicStart::From(start),
                None => {
                    refuse(format!("unreadable from: {text:.40}; write now-60s, Unix seconds, or epoch:seq"))
                }
            },
        }
    }

    fn topic_rate(&self, errors: &mut Vec<MessageError>) -> Option<Rate> {
        let text = self.get("rate")?;
        let rate = serde_json::from_value(serde_json::Value::String(text.to_owned())).ok();
        if rate.is_none() {
            let advice = format!("rate is high, normal, low or background, not {text:.40}");
            errors.push(MessageError::new(Code::InvalidMessage, advice));
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn lists_are_repeated_or_comma_separated() {
        let query = parameters(&[("symbol", "BTC/USDT,ETH/USDT"), ("symbol", "SOL/USDT"), ("mode", "old")]);
        let (wish, errors) = query.wish(UnixNanos::EPOCH);
        assert_eq!(errors, []);
        assert_eq!(wish.expect("wish").filter.symbols.len(), 3);
    }

    #[test]
    fn a_query_that_names_more_than_a_feed_may_begins_without_a_wish() {
        let names: Vec<String> = (0..=crate::spec::MAX_SYMBOLS).map(|n| format!("A{n}/USDT")).collect();
        let (wish, errors) = parameters(&[("symbols", &names.join(","))]).wish(UnixNanos::EPOCH);
        assert!(wish.is_none());
        assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), [Code::LimitExceeded]);
    }

    #[test]
    fn an_unreadable_start_is_an_error_and_live() {
        let (start, errors) = parameters(&[("from", "yesterday")]).start();
        assert_eq!((start, errors.len()), (Start::Live, 1));
    }

    #[test]
    fn batches_come_with_the_subprotocol_or_a_size() {
        assert_eq!(parameters(&[]).batch(false), None);
        assert_eq!(parameters(&[]).batch(true).map(|b| b.size), Some(100));
        let asked = parameters(&[("batch", "5000"), ("wait_ms", "9999")]).batch(false).expect("batch");
        assert_eq!((asked.size, asked.wait), (1_000, Duration::from_millis(1_000)));
    }
}
