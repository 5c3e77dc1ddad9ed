//! Topics of publishers: names that belong to no other kind of topic.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use super::TopicError;
use crate::connection::Limit;

/// The most segments of a name, the fewest being two.
const MOST_SEGMENTS: usize = 8;

/// The most bytes of one segment.
pub const SEGMENT_BYTES: usize = 64;

/// The most bytes of a name.
const NAME_BYTES: usize = 200;

/// First segments that are Bond's own, besides the channels of markets.
const RESERVED: [&str; 3] = ["streams", "raw", "system"];

/// The first segment of published topics by which processes of Bond tell each other of users: for no client to read or publish to.
pub const OWN: &str = "bond";

/// Whether the topic of this name is one of these.
pub fn is_own(name: &str) -> bool {
    name.split('.').next() == Some(OWN)
}

/// The name of a topic that publishers feed: two to eight segments of `[A-Za-z0-9_-]`, with dots between them. It exists by being named.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PublishedTopic(SmolStr);

impl PublishedTopic {
    /// The topic of this name; `None` where it is malformed, or the name of another kind of topic.
    pub fn parse(name: &str) -> Option<Self> {
        let (first, _) = name.split_once('.')?;
        let is_reserved = RESERVED.contains(&first) || crate::event::Channel::from_name(first).is_some();
        let is_valid = name.len() <= NAME_BYTES
            && name.split('.').count() <= MOST_SEGMENTS
            && name.split('.').all(is_segment);
        (is_valid && !is_reserved).then(|| Self(name.into()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose limits hold for those who subscribe to it.
    pub fn family(&self) -> Family {
        Family::of(&self.0)
    }
}

/// Whether `text` can be one segment of a name: an id, kept in its case.
pub fn is_segment(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=SEGMENT_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

impl fmt::Display for PublishedTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PublishedTopic {
    type Err = TopicError;

    fn from_str(name: &str) -> Result<Self, TopicError> {
        Self::parse(name).ok_or_else(|| TopicError(name.to_owned()))
    }
}

/// What limits and figures are kept by: a topic's first segment, in one of five classes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// `prices`, and all that is not listed.
    Market,
    /// `auctions`.
    Auction,
    /// `trading` and `portfolio`.
    Trading,
    /// `risk`.
    Risk,
    /// `mobile`.
    Mobile,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [Self::Market, Self::Auction, Self::Trading, Self::Risk, Self::Mobile];

    /// The family of the topic of this name, whatever kind of topic it is.
    pub fn of(topic: &str) -> Self {
        match topic.split('.').next().unwrap_or_default() {
            "auctions" => Self::Auction,
            "trading" | "portfolio" => Self::Trading,
            "risk" => Self::Risk,
            "mobile" => Self::Mobile,
            _ => Self::Market,
        }
    }

    /// Its name in errors and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Auction => "auction",
            Self::Trading => "trading",
            Self::Risk => "risk",
            Self::Mobile => "mobile",
        }
    }

    /// How many subscriptions a minute one connection may make, after its burst.
    pub const fn sustained(self) -> u32 {
        self.burst() / 10
    }

    /// How many subscriptions one connection may make at once.
    pub const fn burst(self) -> u32 {
        match self {
            Self::Market => 1000,
            Self::Auction => 500,
            Self::Trading => 200,
            Self::Risk => 100,
            Self::Mobile => 300,
        }
    }

    /// The limit of one connection's `subscribe` and `resume`.
    pub const fn limit(self) -> Limit {
        Limit::per_minute(self.sustained(), self.burst())
    }

    /// The limit of one user's, over all connections: five times that of one.
    pub const fn limit_of_user(self) -> Limit {
        Limit::per_minute(5 * self.sustained(), 5 * self.burst())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_two_to_eight_segments_and_is_nobody_elses() {
        for name in ["prices.X", "prices.IN_1-a", "a.b.c.d.e.f.g.h", "risk.u1.alerts"] {
            assert_eq!(PublishedTopic::parse(name).map(|topic| topic.to_string()).as_deref(), Some(name));
        }
        let long = format!("prices.{}", "x".repeat(65));
        for name in
            ["", "prices", "prices.", ".x", "a..b", "a.b.c.d.e.f.g.h.i", "prices.ä", "trades.x.y", &long]
        {
            assert_eq!(PublishedTopic::parse(name), None, "{name}");
        }
        assert_eq!(PublishedTopic::parse("streams.0123456789abcdef"), None);
    }

    #[test]
    fn families_go_by_the_first_segment() {
        let family = |name: &str| PublishedTopic::parse(name).expect("a topic").family();
        assert_eq!(family("portfolio.u1"), Family::Trading);
        assert_eq!(family("anything.else"), Family::Market);
        assert_eq!(Family::Risk.limit().interval, std::time::Duration::from_secs(6));
    }
}
