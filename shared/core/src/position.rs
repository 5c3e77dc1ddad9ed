//! Positions in a topic's log.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use crate::time::UnixNanos;

/// The name of one unbroken history of a topic: an opaque, lower-case text. A new epoch means that numbers of earlier epochs cannot be
/// continued.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(SmolStr);

impl Epoch {
    /// The epoch of this name; `None` unless the name is 1 to 32 lower-case letters and digits.
    pub fn new(name: &str) -> Option<Self> {
        let valid = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        valid.then(|| Self(name.into()))
    }

    /// An epoch named after the time it began and a nonce, which distinguishes epochs that began at the same time.
    pub fn begun(at: UnixNanos, nonce: u64) -> Self {
        let stamp = u64::try_from(at.as_millis()).unwrap_or(0);
        Self(smol_str::format_smolstr!("{stamp:x}x{nonce:x}"))
    }

    /// The epoch's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a topic's log: after event `seq` of `epoch`. Numbers begin at 1, so `seq` 0 is the beginning.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// The history that the number belongs to.
    pub epoch: Epoch,
    /// The number of the last event before this place.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// Where a client wants to begin: the `from` parameter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// With the next event.
    #[default]
    Live,
    /// With the first event that arrived no longer than this ago (`now-60s`, `now-5m`).
    Ago(Duration),
    /// With the first event that arrived at or after this time (Unix seconds, fractions allowed).
    At(UnixNanos),
    /// With the first event after this position (`{epoch}:{seq}`): a resume.
    After(Position),
}

impl Start {
    /// Reads a `from` parameter; `None` if it has none of the four forms.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "now" || text.is_empty() {
            return Some(Self::Live);
        }
        if let Some(ago) = text.strip_prefix("now-") {
            return parse_ago(ago).map(Self::Ago);
        }
        match text.rsplit_once(':') {
            Some((epoch, seq)) => {
                Some(Self::After(Position { epoch: Epoch::new(epoch)?, seq: seq.parse().ok()? }))
            }
            None => parse_unix(text).map(Self::At),
        }
    }

    /// The same start for a lookup later than `now`, the time of the request: `Live` and `Ago` become the absolute time that they meant
    /// at `now`.
    #[must_use]
    pub fn fixed(self, now: UnixNanos) -> Self {
        match self {
            Self::After(position) => Self::After(position),
            other => Self::At(other.time(now).unwrap_or(now)),
        }
    }

    /// The time at which this start lies, relative to `now`; `None` for a position and for `Live`.
    pub fn time(&self, now: UnixNanos) -> Option<UnixNanos> {
        match self {
            Self::Ago(ago) => Some(now.minus(*ago)),
            Self::At(time) => Some(*time),
            Self::Live | Self::After(_) => None,
        }
    }
}

fn parse_ago(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

fn parse_unix(text: &str) -> Option<UnixNanos> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.len() <= 10 && part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{:0<9.9}", fraction).parse().ok()?;
    Some(UnixNanos::from_nanos(whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_from() {
        assert_eq!(Start::parse("now-60s"), Some(Start::Ago(Duration::from_secs(60))));
        assert_eq!(Start::parse("now-5m"), Some(Start::Ago(Duration::from_secs(300))));
        assert_eq!(Start::parse("1723161255.25"), Some(Start::At(UnixNanos::from_millis(1_723_161_255_250))));
        let position = Position { epoch: Epoch::new("a1").expect("epoch"), seq: 7 };
        assert_eq!(Start::parse("a1:7"), Some(Start::After(position)));
    }

    #[test]
    fn refuses_what_is_no_start() {
        for text in [
            "yesterday",
            "now-",
            "now-5",
            "now-5y",
            "now--5s",
            "A1:7",
            "a1:",
            ":7",
            "-3",
            "1e9",
            "12345678901234",
        ] {
            assert_eq!(Start::parse(text), None, "{text}");
        }
    }
}
