//! Limits of routes, as a stage has them.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::token_bucket::TokenBucket;

/// The key of what holds for all routes together that have no limit of their own.
const OTHERS: &str = "*";

/// How much a route takes: a token bucket ("Protect your WebSocket APIs", read 2026-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests a second.
    pub rate: u32,
    /// Requests at once.
    pub burst: u32,
}

/// The limits of both APIs, by route key; `*` is for the routes that are not named. Without one a route is unlimited.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Of the WebSocket API's routes.
    pub web_sockets: BTreeMap<String, Limit>,
    /// Of the HTTP API's routes: `GET /ready`, `$default`.
    pub rest: BTreeMap<String, Limit>,
}

/// What is left of the limits of one API.
#[derive(Debug)]
pub(crate) struct Throttle(BTreeMap<String, Mutex<TokenBucket>>);

impl Throttle {
    /// Nothing taken yet.
    pub(crate) fn new(limits: &BTreeMap<String, Limit>, now: Instant) -> Self {
        let bucket = |limit: &Limit| Mutex::new(TokenBucket::new(limit.rate, limit.burst, now));
        Self(limits.iter().map(|(key, limit)| (key.clone(), bucket(limit))).collect())
    }

    /// Whether the route takes one more now.
    pub(crate) fn admits(&self, route: &str, now: Instant) -> bool {
        let bucket = self.0.get(route).or_else(|| self.0.get(OTHERS));
        bucket.is_none_or(|bucket| bucket.lock().take(now))
    }

    /// Whether the route has a limit of its own.
    pub(crate) fn names(&self, route: &str) -> bool {
        self.0.contains_key(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_its_own_bucket_and_the_others_share_one() {
        let limit = |burst| Limit { rate: 1, burst };
        let limits = BTreeMap::from([("ping".to_owned(), limit(2)), (OTHERS.to_owned(), limit(1))]);
        let now = Instant::now();
        let throttle = Throttle::new(&limits, now);
        assert_eq!(["ping"; 3].map(|route| throttle.admits(route, now)), [true, true, false]);
        assert_eq!(["$connect", "$default"].map(|route| throttle.admits(route, now)), [true, false]);
        assert!(Throttle::new(&BTreeMap::new(), now).admits("ping", now));
    }
}
