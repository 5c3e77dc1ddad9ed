//! What a bearer may do with topics: read, publish, and until when.
//!
//! Pure: who the bearer is was decided by whoever made the grants, as by a token's claims. They are small enough to be kept with a connection.

mod pattern;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

use crate::time::UnixNanos;

pub use self::pattern::{MAX_PATTERN_BYTES, PatternError, TopicPattern};
use crate::topic::{is_own, is_segment};

/// The most patterns of one list.
pub const MAX_PATTERNS: usize = 64;

/// The longest name of a user, and the longest id of a token, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// The longest JSON form, in bytes.
pub const MAX_JSON_BYTES: usize = 4096;

/// The families that everybody with a token reads.
const SHARED_FAMILIES: [&str; 2] = ["prices", "auctions"];

/// The families whose topics belong to a user: `trading.{user}`.
pub const USER_FAMILIES: [&str; 4] = ["trading", "portfolio", "risk", "mobile"];

/// The family of streams, each of which is opened by a token of its own.
const STREAMS: &str = "streams";

/// Why grants cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantsError {
    /// Not a pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Too many patterns in one list.
    #[error(
        "more than {MAX_PATTERNS} patterns in one list: cover several topics by one, as in prices.>: {0}"
    )]
    TooMany(usize),
    /// A name that is empty or too long.
    #[error("a user's name and a token's id have 1 to {MAX_NAME_BYTES} bytes: {0}")]
    Name(usize),
    /// More than can be kept with a connection.
    #[error("grants of more than {MAX_JSON_BYTES} bytes as JSON: use fewer or shorter patterns: {0}")]
    TooLarge(usize),
    /// Not the JSON form.
    #[error("not the JSON of grants")]
    Malformed,
}

/// What grants are made of, before their bounds are checked.
#[derive(Clone, Debug, Default)]
pub struct GrantsParts {
    /// Whose they are.
    pub user: Option<SmolStr>,
    /// Which topics may be read.
    pub read: Vec<TopicPattern>,
    /// Which of these may not.
    pub except: Vec<TopicPattern>,
    /// Which topics may be published to.
    pub publish: Vec<TopicPattern>,
    /// When they end.
    pub expires_at: Option<UnixNanos>,
    /// The id of the token they come from.
    pub id: Option<SmolStr>,
}

/// What a bearer may do with topics. Whatever is granted fits [`MAX_JSON_BYTES`] in its JSON form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants(Stored);

/// The JSON form, with short names: it is kept once for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "is_false")]
    open: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<SmolStr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    read: Vec<TopicPattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<TopicPattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publish: Vec<TopicPattern>,
    /// Unix seconds.
    #[serde(default, rename = "exp", skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<SmolStr>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Grants {
    /// These, if they are within the bounds. The end is kept to the second.
    ///
    /// # Errors
    /// [`GrantsError`] says what to shorten.
    pub fn new(parts: GrantsParts) -> Result<Self, GrantsError> {
        let GrantsParts { user, read, except, publish, expires_at, id } = parts;
        let expires_at = expires_at.map(UnixNanos::as_secs);
        Self::checked(Stored { open: false, user, read, except, publish, expires_at, id })
    }

    /// Everything, to whoever is on this machine: no token was shown, as none is needed. Paths of one topic want one all the same
    /// ([`Grants::is_open`]).
    pub fn open() -> Self {
        let all = || vec![TopicPattern::all()];
        Self(Stored { open: true, read: all(), publish: all(), ..Stored::default() })
    }

    /// Whether these were granted without a token, in open mode.
    pub const fn is_open(&self) -> bool {
        self.0.open
    }

    /// Whose they are; `None` in open mode, and for an API key.
    pub const fn user(&self) -> Option<&SmolStr> {
        self.0.user.as_ref()
    }

    /// When they end; `None`: they do not.
    pub fn expires_at(&self) -> Option<UnixNanos> {
        self.0.expires_at.map(UnixNanos::from_secs)
    }

    /// The id of the token they come from (`jti`), by which it can be revoked.
    pub const fn id(&self) -> Option<&SmolStr> {
        self.0.id.as_ref()
    }

    /// Whether the topic of this name may be read. Nobody reads Bond's own.
    pub fn may_read(&self, topic: &str) -> bool {
        !is_own(topic) && covers(&self.0.read, topic) && !covers(&self.0.except, topic)
    }

    /// Whether the topic of this name may be published to. Nobody publishes to Bond's own.
    pub fn may_publish(&self, topic: &str) -> bool {
        !is_own(topic) && covers(&self.0.publish, topic)
    }

    /// The JSON form, of [`MAX_JSON_BYTES`] at most.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("texts and numbers")
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`GrantsError`] where it is not one, or not within the bounds.
    pub fn from_json(text: &str) -> Result<Self, GrantsError> {
        if text.len() > MAX_JSON_BYTES {
            return Err(GrantsError::TooLarge(text.len()));
        }
        Self::checked(serde_json::from_str(text).map_err(|_| GrantsError::Malformed)?)
    }

    fn checked(stored: Stored) -> Result<Self, GrantsError> {
        for list in [&stored.read, &stored.except, &stored.publish] {
            if list.len() > MAX_PATTERNS {
                return Err(GrantsError::TooMany(list.len()));
            }
        }
        for name in [&stored.user, &stored.id].into_iter().flatten() {
            if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
                return Err(GrantsError::Name(name.len()));
            }
        }
        let grants = Self(stored);
        let length = grants.to_json().len();
        if length > MAX_JSON_BYTES { Err(GrantsError::TooLarge(length)) } else { Ok(grants) }
    }
}

fn covers(patterns: &[TopicPattern], topic: &str) -> bool {
    patterns.iter().any(|pattern| pattern.covers(topic))
}

/// What is read where a token names no topics: prices and auctions, and what is the user's own. A user whose name is no
/// [segment](is_segment) of a topic has no topics of its own.
pub fn of_user(user: &str) -> Vec<TopicPattern> {
    let shared = SHARED_FAMILIES.map(|family| format_smolstr!("{family}.>"));
    let own = USER_FAMILIES.map(|family| format_smolstr!("{family}.{user}"));
    let alerts = format_smolstr!("risk.{user}.alerts");
    let own = own.into_iter().chain([alerts]).filter(|_| is_segment(user));
    shared.into_iter().chain(own).map(TopicPattern::trusted).collect()
}

/// What the holder of an API key may do: read every topic that is no user's, and with the role of a publisher read and write those too.
/// Streams are opened by tokens of their own.
pub fn of_key(is_publisher: bool) -> Grants {
    let families = USER_FAMILIES.into_iter().filter(|_| !is_publisher).chain([STREAMS]);
    let except = families.map(|family| TopicPattern::trusted(format_smolstr!("{family}.>"))).collect();
    let publish = is_publisher.then(TopicPattern::all).into_iter().collect();
    Grants(Stored { read: vec![TopicPattern::all()], except, publish, ..Stored::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<TopicPattern> {
        texts.iter().map(|text| TopicPattern::parse(text).expect(text)).collect()
    }

    fn reading(read: &[&str]) -> Grants {
        Grants::new(GrantsParts { read: patterns(read), ..GrantsParts::default() }).expect("grants")
    }

    #[test]
    fn nobody_reads_or_publishes_to_topics_of_bonds_own() {
        for grants in [Grants::open(), of_key(true), reading(&[">"])] {
            assert!(grants.may_read("prices.X") && !grants.may_read("bond.revoked.0"), "{grants:?}");
            assert!(!grants.may_publish("bond.revoked.0"), "{grants:?}");
        }
        assert!(Grants::open().may_publish("bonds.x"));
    }

    #[test]
    fn a_user_reads_prices_auctions_and_what_is_its_own() {
        let grants =
            Grants::new(GrantsParts { read: of_user("u1"), ..GrantsParts::default() }).expect("grants");
        for topic in [
            "prices.IN1",
            "auctions.a.b",
            "trading.u1",
            "portfolio.u1",
            "risk.u1",
            "risk.u1.alerts",
            "mobile.u1",
        ] {
            assert!(grants.may_read(topic), "{topic}");
            assert!(!grants.may_publish(topic), "{topic}");
        }
        for topic in [
            "trading.u2",
            "trading.U1",
            "risk.u2.alerts",
            "risk.u1.x",
            "trading.u1.x",
            "prices",
            "trades.okx.A-B",
        ] {
            assert!(!grants.may_read(topic), "{topic}");
        }
    }

    #[test]
    fn a_users_name_widens_nothing() {
        for user in [">", "*", "u1.>", "auth0|1", "", "a.b"] {
            assert_eq!(of_user(user), patterns(&["prices.>", "auctions.>"]), "{user}");
        }
    }

    #[test]
    fn an_api_key_reads_users_topics_and_publishes_only_with_that_role() {
        let (plain, publisher) = (of_key(false), of_key(true));
        for topic in ["prices.IN1", "auctions.a", "bids.x", "trades.binance.BTC-USDT"] {
            assert!(plain.may_read(topic) && publisher.may_read(topic), "{topic}");
            assert!(!plain.may_publish(topic) && publisher.may_publish(topic), "{topic}");
        }
        for topic in ["trading.u1", "portfolio.u1", "risk.u1.alerts", "mobile.u1"] {
            assert!(!plain.may_read(topic) && publisher.may_read(topic), "{topic}");
        }
        let stream = "streams.0123456789abcdef";
        assert!(!plain.may_read(stream) && !publisher.may_read(stream));
        assert!(!plain.is_open() && !publisher.is_open());
    }

    #[test]
    fn open_mode_grants_everything_and_tells_it() {
        let open = Grants::open();
        assert!(open.is_open() && open.may_read("trading.u1") && open.may_publish("prices.a"));
        assert!(!reading(&[">"]).is_open());
    }

    #[test]
    fn what_is_kept_with_a_connection_comes_back() {
        let parts = GrantsParts {
            user: Some("u1".into()),
            read: patterns(&["prices.>"]),
            except: patterns(&["prices.secret"]),
            publish: patterns(&["bids.u1"]),
            expires_at: Some(UnixNanos::from_millis(1_700_000_000_900)),
            id: Some("j1".into()),
        };
        let grants = Grants::new(parts).expect("grants");
        let json = r#"{"user":"u1","read":["prices.>"],"except":["prices.secret"],"publish":["bids.u1"],"exp":1700000000,"id":"j1"}"#;
        assert_eq!(grants.to_json(), json);
        assert_eq!(grants.expires_at(), Some(UnixNanos::from_secs(1_700_000_000)));
        for grants in [grants, Grants::open(), of_key(false), reading(&[])] {
            assert_eq!(Grants::from_json(&grants.to_json()), Ok(grants));
        }
        for broken in ["", "{", r#"{"reed":[]}"#, r#"{"read":["a..b"]}"#, r#"{"exp":"soon"}"#] {
            assert_eq!(Grants::from_json(broken), Err(GrantsError::Malformed), "{broken}");
        }
    }

    #[test]
    fn more_than_can_be_kept_is_refused_with_what_to_shorten() {
        let with = |count: usize, bytes: usize| {
            let read =
                vec![TopicPattern::parse(&vec!["a".repeat(bytes); 3].join(".")).expect("pattern"); count];
            Grants::new(GrantsParts { read, ..GrantsParts::default() })
        };
        assert!(with(MAX_PATTERNS, 1).is_ok());
        assert_eq!(with(MAX_PATTERNS + 1, 1), Err(GrantsError::TooMany(MAX_PATTERNS + 1)));
        let refused = with(MAX_PATTERNS, 60).expect_err("too large").to_string();
        assert!(refused.contains("4096 bytes as JSON: use fewer"), "{refused}");
        let named = |length| {
            let user = Some("u".repeat(length).into());
            Grants::new(GrantsParts { user, ..GrantsParts::default() })
        };
        assert_eq!(
            (named(128).is_ok(), named(0), named(129)),
            (true, Err(GrantsError::Name(0)), Err(GrantsError::Name(129)))
        );
        assert_eq!(Grants::from_json(&" ".repeat(4097)), Err(GrantsError::TooLarge(4097)));
    }
}
