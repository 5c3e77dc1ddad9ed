//! The text form of a fault, as given on a command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Count, Effect, Fault, Filter};
use crate::frame::Class;

/// Why a fault's text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFaultError {
    /// No such effect.
    #[error(
        "unknown fault {0:?}: expected drop, repeat, swap, delay, split, malformed, ack-late, ack-after-data, ack-never, refuse-subscription, silence, refuse, unavailable, close, reset, freeze, jump, slow-rest, rest-429 or notice"
    )]
    Effect(String),
    /// The effect needs a value, or the value cannot be read.
    #[error("fault {effect:?} needs {expected}, got {value:?}")]
    Value {
        /// The effect.
        effect: String,
        /// What would do.
        expected: &'static str,
        /// What was there.
        value: String,
    },
    /// Neither a number, nor `1/n`, nor `all`.
    #[error("a fault's count is a number from 1, 1/n or all, got {0:?}")]
    Count(String),
}

impl FromStr for Fault {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(2, ':');
        let effect = parse_effect(parts.next().unwrap_or_default())?;
        let mut fault = Fault::new(effect);
        let Some(rest) = parts.next() else {
            return Ok(fault);
        };
        let (filter, count) = match rest.rsplit_once(':') {
            Some((filter, count)) => (filter, Some(count)),
            None => (rest, None),
        };
        fault.filter = parse_filter(filter);
        if let Some(count) = count {
            fault.count = parse_count(count)?;
        }
        Ok(fault)
    }
}

fn parse_effect(text: &str) -> Result<Effect, ParseFaultError> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let value = Value { effect: name, text: value };
    match name {
        "drop" => value.none(Effect::Drop),
        "repeat" => value.none(Effect::Repeat),
        "swap" => value.none(Effect::Swap),
        "delay" => value.duration().map(Effect::Delay),
        "split" => value.none(Effect::Split),
        "malformed" => value.none(Effect::Malformed),
        "ack-late" => value.duration().map(Effect::AckLate),
        "ack-after-data" => value.none(Effect::AckAfterData),
        "ack-never" => value.none(Effect::AckNever),
        "refuse-subscription" => value.none(Effect::RefuseSubscription),
        "silence" => value.optional_duration().map(Effect::Silence),
        "refuse" => value.optional_duration().map(Effect::Refuse),
        "unavailable" => value.optional_duration().map(Effect::Unavailable),
        "close" => value.number("a close code, as in close=1001").map(Effect::Close),
        "reset" => value.none(Effect::Reset),
        "freeze" => value.none(Effect::Freeze),
        "jump" => value.number("a number of ids, as in jump=5").map(Effect::Jump),
        "slow-rest" => value.duration().map(Effect::SlowRest),
        "rest-429" => value.duration().map(Effect::TooManyRequests),
        "notice" => value.none(Effect::Notice),
        _ => Err(ParseFaultError::Effect(name.to_owned())),
    }
}

struct Value<'a> {
    effect: &'a str,
    text: Option<&'a str>,
}

impl Value<'_> {
    fn wrong(&self, expected: &'static str) -> ParseFaultError {
        let value = self.text.unwrap_or_default().to_owned();
        ParseFaultError::Value { effect: self.effect.to_owned(), expected, value }
    }

    fn none(&self, effect: Effect) -> Result<Effect, ParseFaultError> {
        if self.text.is_none() { Ok(effect) } else { Err(self.wrong("no value")) }
    }

    fn number<T: FromStr>(&self, expected: &'static str) -> Result<T, ParseFaultError> {
        self.text.and_then(|text| text.parse().ok()).ok_or_else(|| self.wrong(expected))
    }

    fn duration(&self) -> Result<Duration, ParseFaultError> {
        self.text.and_then(parse_duration).ok_or_else(|| self.wrong("a time such as 250ms, 2s or 1m"))
    }

    fn optional_duration(&self) -> Result<Option<Duration>, ParseFaultError> {
        if self.text.is_none() { Ok(None) } else { self.duration().map(Some) }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

const CLASSES: [(&str, Class); 6] = [
    ("trade", Class::Trade),
    ("quote", Class::Quote),
    ("book", Class::Book),
    ("ticker", Class::Ticker),
    ("funding", Class::Funding),
    ("liquidation", Class::Liquidation),
];

fn parse_filter(text: &str) -> Filter {
    if text == "*" {
        return Filter::Any;
    }
    let class = CLASSES.iter().find(|(name, _)| *name == text);
    class.map_or_else(|| Filter::Stream(text.to_owned()), |(_, class)| Filter::Class(*class))
}

fn parse_count(text: &str) -> Result<Count, ParseFaultError> {
    let positive = |digits: &str| digits.parse().ok().filter(|n: &u64| *n > 0);
    let count = match text.split_once('/') {
        Some(("1", n)) => positive(n).map(Count::Every),
        Some(_) => None,
        None if text == "all" => Some(Count::All),
        None => positive(text).map(Count::Next),
    };
    count.ok_or_else(|| ParseFaultError::Count(text.to_owned()))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.effect)?;
        if self.filter != Filter::Any || self.count != Fault::new(self.effect.clone()).count {
            write!(f, ":{}:{}", self.filter, self.count)?;
        }
        Ok(())
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timed = |f: &mut fmt::Formatter<'_>, name: &str, time: &Duration| {
            write!(f, "{name}={}ms", time.as_millis())
        };
        match self {
            Effect::Drop => f.write_str("drop"),
            Effect::Repeat => f.write_str("repeat"),
            Effect::Swap => f.write_str("swap"),
            Effect::Delay(time) => timed(f, "delay", time),
            Effect::Split => f.write_str("split"),
            Effect::Malformed => f.write_str("malformed"),
            Effect::AckLate(time) => timed(f, "ack-late", time),
            Effect::AckAfterData => f.write_str("ack-after-data"),
            Effect::AckNever => f.write_str("ack-never"),
            Effect::RefuseSubscription => f.write_str("refuse-subscription"),
            Effect::Silence(None) => f.write_str("silence"),
            Effect::Silence(Some(time)) => timed(f, "silence", time),
            Effect::Refuse(None) => f.write_str("refuse"),
            Effect::Refuse(Some(time)) => timed(f, "refuse", time),
            Effect::Unavailable(None) => f.write_str("unavailable"),
            Effect::Unavailable(Some(time)) => timed(f, "unavailable", time),
            Effect::Close(code) => write!(f, "close={code}"),
            Effect::Reset => f.write_str("reset"),
            Effect::Freeze => f.write_str("freeze"),
            Effect::Jump(by) => write!(f, "jump={by}"),
            Effect::SlowRest(time) => timed(f, "slow-rest", time),
            Effect::TooManyRequests(time) => timed(f, "rest-429", time),
            Effect::Notice => f.write_str("notice"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Any => f.write_str("*"),
            Filter::Stream(name) => f.write_str(name),
            Filter::Class(class) => {
                let name = CLASSES.iter().find(|(_, known)| known == class).map_or("other", |(name, _)| name);
                f.write_str(name)
            }
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Count::Next(n) => write!(f, "{n}"),
            Count::Every(n) => write!(f, "1/{n}"),
            Count::All => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_and_written_the_same_way() {
        let texts = [
            "drop:trade:1/100",
            "delay=250ms:book:3",
            "silence:ticker:all",
            "close=1001",
            "freeze",
            "refuse=10000ms",
            "drop:btcusdt@trade:all",
            "swap:orderbook.50.BTCUSDT:1",
            "jump=5:book:1",
            "rest-429=5000ms",
        ];
        for text in texts {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!(
            "refuse=10s".parse::<Fault>().unwrap().effect,
            Effect::Refuse(Some(Duration::from_secs(10)))
        );
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        let message = |text: &str| text.parse::<Fault>().unwrap_err().to_string();
        assert!(message("dorp").starts_with("unknown fault \"dorp\": expected drop"));
        assert_eq!(message("delay:trade"), "fault \"delay\" needs a time such as 250ms, 2s or 1m, got \"\"");
        assert_eq!(message("drop:trade:0"), "a fault's count is a number from 1, 1/n or all, got \"0\"");
        assert_eq!(message("drop=3"), "fault \"drop\" needs no value, got \"3\"");
    }
}
