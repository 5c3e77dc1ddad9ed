//! What a feed asks for, from the names a client wrote.

use std::collections::BTreeSet;

use super::client::{MessageError, Subscribe};
use crate::code::Code;
use crate::event::Channel;
use crate::feed::FeedFilter;
use crate::instrument::{Symbol, Venue};
use crate::spec::MAX_SYMBOLS;
use crate::topic::{DEFAULT_DEPTH, published_depth};

/// Errors that one message is answered with at most: a list of a thousand unknown names is one mistake.
pub const MOST_TOLD: usize = 8;

impl Subscribe {
    /// The filter it asks for, and what in it is unknown: [`MOST_TOLD`] errors at most, the last of which counts those left out. No
    /// filter where a list holds unknown names only, so that nothing is left to serve.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` where it names more than [`MAX_SYMBOLS`] symbols, each counted once however often and in whatever spelling it is
    /// there. Such a message is refused whole, and changes nothing: a part of what was asked for would be taken for all of it.
    pub fn filter(&self) -> Result<(Option<FeedFilter>, Vec<MessageError>), MessageError> {
        let mut unknown = Unknown::default();
        let channels = known(&self.channels, &mut unknown, channel);
        let symbols = known(&self.symbols, &mut unknown, |name| Symbol::parse(name).map_err(told));
        let venues = known(&self.exchanges, &mut unknown, |name| name.parse::<Venue>().map_err(told));
        if symbols.as_ref().is_some_and(|symbols| symbols.len() > MAX_SYMBOLS) {
            return Err(too_many());
        }
        let depth = self.depth.map_or(DEFAULT_DEPTH, published_depth);
        let filter = match (channels, symbols, venues) {
            (Some(channels), Some(symbols), Some(venues)) => {
                Some(FeedFilter { channels, symbols, venues, depth, raw: self.raw })
            }
            _ => None,
        };
        Ok((filter, unknown.errors()))
    }
}

fn too_many() -> MessageError {
    let advice = format!("more than {MAX_SYMBOLS} symbols: name fewer, or take them all by naming none");
    MessageError::new(Code::LimitExceeded, advice)
}

/// The known among `names`; empty for everything; `None` where all are unknown. What is known of symbols is read no further than one
/// beyond [`MAX_SYMBOLS`]; there are fewer channels and venues than that.
fn known<T: Ord>(
    names: &[String],
    unknown: &mut Unknown,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<BTreeSet<T>> {
    if names.iter().any(|name| name == "*") {
        return Some(BTreeSet::new());
    }
    let mut taken = BTreeSet::new();
    for name in names {
        match read(name) {
            Ok(value) => {
                taken.insert(value);
            }
            Err(message) => unknown.note(message),
        }
        if taken.len() > MAX_SYMBOLS {
            break;
        }
    }
    (names.is_empty() || !taken.is_empty()).then_some(taken)
}

/// Names that are unknown, as far as they are told.
#[derive(Default)]
struct Unknown {
    told: Vec<String>,
    left_out: usize,
}

impl Unknown {
    fn note(&mut self, message: String) {
        if self.told.len() < MOST_TOLD {
            self.told.push(message);
        } else {
            self.left_out += 1;
        }
    }

    /// An error for each that is told; the last stands for those left out as well.
    fn errors(mut self) -> Vec<MessageError> {
        if let (1.., Some(last)) = (self.left_out, self.told.last_mut()) {
            *last = format!("{} more names besides: {last}", self.left_out);
        }
        self.told.into_iter().map(|message| MessageError::new(Code::InvalidTopic, message)).collect()
    }
}

fn channel(name: &str) -> Result<Channel, String> {
    let found = if name.eq_ignore_ascii_case("price") {
        Some(Channel::Ticker)
    } else {
        Channel::ALL.into_iter().find(|channel| channel.name().eq_ignore_ascii_case(name))
    };
    let known = "trades, orderbook, ticker, funding, liquidations";
    found.ok_or_else(|| format!("unknown channel: {name:.40}; known are {known}"))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ClientMessage, Request};

    fn subscribe(text: &str) -> Subscribe {
        match Request::parse(text).message {
            Ok(ClientMessage::Subscribe(message)) => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_the_filter_form_of_one_socket_for_all_exchanges() {
        let message = subscribe(
            r#"{"type":"subscribe","channels":["trades","orderbook"],"symbols":["BTC/USDT"],
                "exchanges":["binance","okx","bybit"],"depth":20,"raw":false}"#,
        );
        let (filter, errors) = message.filter().expect("within bounds");
        let filter = filter.expect("filter");
        assert_eq!(errors, []);
        assert!(filter.matches(&"trades.okx.BTC-USDT".parse().expect("topic")));
        assert!(!filter.matches(&"ticker.okx.BTC-USDT".parse().expect("topic")));
    }

    #[test]
    fn a_book_has_the_depth_that_was_asked_for() {
        let depth = |text| subscribe(text).filter().expect("within bounds").0.expect("filter").depth;
        assert_eq!(depth(r#"{"type":"subscribe","channels":["orderbook"],"depth":10}"#), 10);
        assert_eq!(depth(r#"{"type":"subscribe","channels":["orderbook"],"depth":1000}"#), 400);
        assert_eq!(depth(r#"{"type":"subscribe","channels":["orderbook"]}"#), 20);
    }

    #[test]
    fn a_price_is_a_ticker_and_a_star_is_everything() {
        let (filter, errors) =
            subscribe(r#"{"type":"subscribe","channels":"price","symbols":"*","exchanges":["*"]}"#)
                .filter()
                .expect("within bounds");
        let filter = filter.expect("filter");
        assert_eq!(errors, []);
        assert!(filter.matches(&"ticker.okx.SOL-USDT".parse().expect("topic")));
    }

    #[test]
    fn unknown_names_are_errors_and_the_rest_is_served() {
        let message =
            subscribe(r#"{"type":"subscribe","channels":["trades","candles"],"exchanges":["mtgox","okx"]}"#);
        let (filter, errors) = message.filter().expect("within bounds");
        assert_eq!(errors.iter().map(|e| e.code).collect::<Vec<_>>(), [Code::InvalidTopic; 2]);
        assert!(filter.expect("filter").matches(&"trades.okx.BTC-USDT".parse().expect("topic")));
    }

    #[test]
    fn only_unknown_names_do_not_become_everything() {
        let (filter, errors) =
            subscribe(r#"{"type":"subscribe","symbols":["???"]}"#).filter().expect("within bounds");
        assert_eq!((filter, errors.len()), (None, 1));
    }

    fn naming(symbols: impl IntoIterator<Item = String>) -> Subscribe {
        Subscribe { symbols: symbols.into_iter().collect(), ..Subscribe::default() }
    }

    #[test]
    fn a_feed_names_a_hundred_symbols_and_not_one_more() {
        let pairs = |count: usize| (0..count).map(|n| format!("A{n}/USDT"));
        let (filter, errors) = naming(pairs(MAX_SYMBOLS)).filter().expect("within bounds");
        assert_eq!((filter.map(|filter| filter.symbols.len()), errors.len()), (Some(MAX_SYMBOLS), 0));
        let refused = naming(pairs(MAX_SYMBOLS + 1)).filter().expect_err("beyond bounds");
        assert_eq!(refused.code, Code::LimitExceeded);
        let spelled_twice = pairs(MAX_SYMBOLS).chain(pairs(MAX_SYMBOLS).map(|pair| pair.replace('/', "-")));
        assert!(naming(spelled_twice).filter().is_ok(), "a symbol counts once");
    }

    #[test]
    fn of_thousands_of_unknown_names_a_few_are_told_and_the_rest_counted() {
        let unknown = (0..15_000).map(|_| "?".to_owned());
        let (filter, errors) = naming(unknown).filter().expect("within bounds");
        assert_eq!((filter, errors.len()), (None, MOST_TOLD));
        assert!(!errors[0].message.contains("besides"), "{}", errors[0].message);
        assert!(errors[MOST_TOLD - 1].message.starts_with("14992 more names besides: "));
    }

    #[test]
    fn a_name_longer_than_any_symbol_is_unknown_and_not_repeated_whole() {
        let (filter, errors) = naming([format!("{}/USDT", "A".repeat(60_000))]).filter().expect("bounds");
        assert!(filter.is_none() && errors[0].message.len() < 200);
    }
}
