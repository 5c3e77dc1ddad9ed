//! Users who were disconnected: how processes tell each other of them, by the states of published topics of Bond's own.
//!
//! A state is an object: `{"u1":[1764331200000,1764334800000]}` says when a user was disconnected, and until when tokens are refused, in
//! Unix milliseconds. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};

use crate::time::UnixNanos;
use crate::topic::{OWN, PublishedTopic};

/// Over how many topics users are spread: each has a state of its own, of 24 KiB at most.
pub const TOPICS: u32 = 16;

/// The longest time for which tokens of a user are refused.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// How long an entry stays at least, so that whoever was away for a moment finds it.
pub const KEPT: Duration = Duration::from_secs(60);

/// A user who was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When. Of two entries of one user the later one counts.
    pub at: UnixNanos,
    /// Until when tokens of the user are refused.
    pub until: UnixNanos,
}

/// Users by name.
pub type Revoked = BTreeMap<SmolStr, Revocation>;

impl Revocation {
    /// Whether the entry is needed no more.
    pub fn is_over(&self, now: UnixNanos) -> bool {
        now >= self.until && now >= self.at.plus(KEPT)
    }
}

/// The topic that tells of a user.
pub fn topic_of(user: &str) -> Option<PublishedTopic> {
    topic(fold(user) % TOPICS)
}

/// All of these topics.
pub fn topics() -> Vec<PublishedTopic> {
    (0..TOPICS).filter_map(topic).collect()
}

fn topic(number: u32) -> Option<PublishedTopic> {
    PublishedTopic::parse(&format_smolstr!("{OWN}.revoked.{number}"))
}

/// The same number in every process (FNV-1a).
fn fold(user: &str) -> u32 {
    user.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The users of a state. What cannot be read is none.
pub fn read(state: &[u8]) -> Revoked {
    let entries: BTreeMap<SmolStr, (i64, i64)> = serde_json::from_slice(state).unwrap_or_default();
    let of = |(user, (at, until))| {
        (user, Revocation { at: UnixNanos::from_millis(at), until: UnixNanos::from_millis(until) })
    };
    entries.into_iter().map(of).collect()
}

/// The merge patch of a state that adds a user, and removes those whose entries are over.
pub fn patch(state: &Revoked, user: &str, revocation: Revocation, now: UnixNanos) -> String {
    let over = state.iter().filter(|(known, entry)| *known != user && entry.is_over(now));
    let mut patch: BTreeMap<&str, Option<[i64; 2]>> = over.map(|(known, _)| (known.as_str(), None)).collect();
    // A longer refusal is not shortened by a shorter one.
    let until = state.get(user).map_or(revocation.until, |before| before.until.max(revocation.until));
    patch.insert(user, Some([revocation.at.as_millis(), until.as_millis()]));
    serde_json::to_string(&patch).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::merge_patch;

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn a_user_is_added_and_those_who_are_over_go() {
        let entry = |from, until| Revocation { at: at(from), until: at(until) };
        let mut state: Option<String> = None;
        let mut add = |user: &str, revocation: Revocation, now| {
            let known = state.as_deref().map_or_else(Revoked::new, |state| read(state.as_bytes()));
            state = Some(merge_patch(state.as_deref(), &patch(&known, user, revocation, now)));
            read(state.as_deref().unwrap_or_default().as_bytes())
        };
        add("u1", entry(0, 0), at(0));
        add("u2", entry(1, 3_600), at(1));
        assert_eq!(add("u3", entry(59, 59), at(59)).len(), 3, "an entry stays for a minute");
        let left = add("u2", entry(120, 120), at(120));
        assert_eq!(left.into_iter().collect::<Vec<_>>(), [("u2".into(), entry(120, 3_600))]);
    }

    #[test]
    fn users_are_spread_over_topics_of_bonds_own() {
        let all = topics();
        assert_eq!(all.len(), 16);
        assert!(all.iter().all(|topic| crate::topic::is_own(topic.as_str())));
        let mut used: Vec<_> = (0..1_000).filter_map(|n| topic_of(&format!("user_{n}"))).collect();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), 16);
        assert_eq!(topic_of("u1"), topic_of("u1"));
    }

    #[test]
    fn what_is_no_state_tells_of_nobody() {
        for text in ["", "1", r#"{"u":1}"#, "[]"] {
            assert!(read(text.as_bytes()).is_empty(), "{text}");
        }
    }
}
