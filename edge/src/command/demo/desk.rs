//! A bond desk that is made up: prices that wander, an auction, one user's orders, portfolio and risk. There is no clock and no chance in it:
//! every desk does the same.

/// The bonds that have prices. They are made up, as the country code says.
pub(super) const ISINS: [&str; 3] = ["XX0000000017", "XX0000000025", "XX0000000033"];

/// The auction.
pub(super) const AUCTION: &str = "demo";

/// Whose orders, portfolio and risk there are.
pub(super) const USER: &str = "demo";

/// How many ticks an auction takes.
const ROUND: u64 = 120;

/// How many ticks lie between two alerts.
const ALERT: u64 = 20;

/// The size of an order.
const ORDER: i64 = 1000;

/// What is published to one topic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) topic: String,
    pub(super) kind: &'static str,
    pub(super) payload: String,
    pub(super) meta: String,
}

impl Said {
    fn new(topic: &str, kind: &'static str, payload: String) -> Self {
        Self { topic: topic.to_owned(), kind, payload, meta: r#"{"simulated":true}"#.to_owned() }
    }

    fn of(mut self, subtopic: &str) -> Self {
        self.meta = format!(r#"{{"simulated":true,"subtopic":"{subtopic}"}}"#);
        self
    }
}

/// The desk.
pub(super) struct Desk {
    chance: u64,
    ticks: u64,
    /// The bids of the bonds, in hundredths.
    bids: [i64; 3],
    /// The best bid of the auction, in hundredths, and how many there were.
    auction: (i64, u64),
    /// What the user's order has got so far, and the orders before it.
    filled: i64,
    orders: u64,
    holding: i64,
}

/// Hundredths as a decimal number.
fn price(hundredths: i64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

impl Desk {
    pub(super) const fn new() -> Self {
        Self {
            chance: 1,
            ticks: 0,
            bids: [9_940, 10_120, 9_705],
            auction: (9_800, 0),
            filled: 0,
            orders: 1,
            holding: 5_000,
        }
    }

    /// A number from 0 to below `bound`.
    const fn draw(&mut self, bound: u64) -> u64 {
        // Knuth's linear congruential generator; its upper bits are the better ones.
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % bound
    }

    /// What there is at first: whole states.
    pub(super) fn open(&mut self) -> Vec<Said> {
        let prices = ISINS.iter().zip(self.bids).map(|(isin, bid)| {
            let state = format!(r#"{{"isin":"{isin}",{},"currency":"EUR"}}"#, quote(bid));
            Said::new(&format!("prices.{isin}"), "snapshot", state)
        });
        let mut said: Vec<_> = prices.collect();
        said.push(self.open_auction());
        said.extend(self.user("snapshot"));
        said
    }

    /// What changes with the next tick.
    pub(super) fn tick(&mut self) -> Vec<Said> {
        self.ticks += 1;
        let mut said: Vec<_> = (0..ISINS.len()).filter_map(|at| self.price_moves(at)).collect();
        said.push(self.auction_moves());
        if self.ticks.is_multiple_of(4) {
            said.extend(self.user_trades());
        }
        if self.ticks.is_multiple_of(ALERT) {
            let payload =
                format!(r#"{{"level":"warning","message":"exposure is at {} % of its limit"}}"#, self.used());
            said.push(Said::new(&format!("risk.{USER}.alerts"), "alert", payload));
        }
        said
    }

    fn price_moves(&mut self, at: usize) -> Option<Said> {
        let step = i64::try_from(self.draw(7)).unwrap_or(3) - 3;
        let is_trade = self.draw(8) == 0;
        let (isin, bid) = (ISINS.get(at)?, self.bids.get_mut(at)?);
        *bid = (*bid + step).clamp(9_000, 11_000);
        let topic = format!("prices.{isin}");
        Some(match is_trade {
            true => Said::new(
                &topic,
                "delta",
                format!(r#"{{"last":{{"price":{},"size":{ORDER}}}}}"#, price(*bid)),
            )
            .of("trades"),
            false => Said::new(&topic, "delta", format!("{{{}}}", quote(*bid))).of("L1"),
        })
    }

    fn open_auction(&mut self) -> Said {
        self.auction = (9_800, 0);
        let state = format!(
            r#"{{"auction":"{AUCTION}","isin":"{}","status":"open","best_bid":98.00,"bids":0,"ticks_left":{ROUND}}}"#,
            ISINS[0]
        );
        Said::new(&format!("auctions.{AUCTION}"), "snapshot", state)
    }

    fn auction_moves(&mut self) -> Said {
        let left = ROUND - self.ticks % ROUND;
        if left == ROUND {
            return self.open_auction();
        }
        let raise = i64::try_from(self.draw(4)).unwrap_or(0);
        self.auction = (self.auction.0 + raise, self.auction.1 + u64::from(raise > 0));
        let status = if left == 1 { "closed" } else { "open" };
        let (best, bids) = (price(self.auction.0), self.auction.1);
        let delta =
            format!(r#"{{"status":"{status}","best_bid":{best},"bids":{bids},"ticks_left":{}}}"#, left - 1);
        Said::new(&format!("auctions.{AUCTION}"), "delta", delta)
    }

    /// The user's order is filled a little more; a filled one makes room for the next.
    fn user_trades(&mut self) -> Vec<Said> {
        let fill = i64::try_from(self.draw(4)).unwrap_or(0) * 100;
        let fill = fill.min(ORDER - self.filled);
        (self.filled, self.holding) = (self.filled + fill, (self.holding + fill) % 20_000);
        let mut said = Vec::new();
        if self.filled == ORDER {
            let gone = format!(r#"{{"orders":{{"o-{}":null}}}}"#, self.orders);
            said.push(Said::new(&format!("trading.{USER}"), "delta", gone));
            (self.filled, self.orders) = (0, self.orders + 1);
        }
        said.extend(self.user("delta"));
        said
    }

    /// How much of the user's limit is used, in hundredths of it.
    const fn used(&self) -> i64 {
        self.holding / 200
    }

    /// What there is to tell of the user.
    fn user(&self, kind: &'static str) -> Vec<Said> {
        let Self { bids: [bid, ..], filled, orders, holding, .. } = self;
        let (isin, at, value) = (ISINS[0], price(*bid), price(holding * bid / 100));
        let order =
            format!(r#"{{"isin":"{isin}","side":"buy","limit":{at},"size":{ORDER},"filled":{filled}}}"#);
        let topics = [
            ("trading", format!(r#"{{"orders":{{"o-{orders}":{order}}}}}"#)),
            ("portfolio", format!(r#"{{"positions":{{"{isin}":{{"size":{holding},"value":{value}}}}}}}"#)),
            ("risk", format!(r#"{{"exposure":{value},"used_percent":{}}}"#, self.used())),
            ("mobile", format!(r#"{{"value":{value},"open_orders":1}}"#)),
        ];
        topics.into_iter().map(|(family, said)| Said::new(&format!("{family}.{USER}"), kind, said)).collect()
    }
}

/// Bid and ask, as members of an object.
fn quote(bid: i64) -> String {
    format!(r#""bid":{},"ask":{}"#, price(bid), price(bid + 20))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bond_core::publish::{PublishBatch, PublishEvent, fold};
    use serde_json::Value;

    use super::*;

    /// What is said in so many ticks, the first states included.
    fn said(ticks: usize) -> Vec<Said> {
        let mut desk = Desk::new();
        let opened = desk.open();
        opened.into_iter().chain((0..ticks).flat_map(|_| desk.tick())).collect()
    }

    #[test]
    fn every_topic_of_the_five_paths_moves_and_says_that_it_is_made_up() {
        let said = said(40);
        let topics: BTreeSet<_> = said.iter().map(|said| said.topic.as_str()).collect();
        for topic in [
            "auctions.demo",
            "trading.demo",
            "portfolio.demo",
            "risk.demo",
            "risk.demo.alerts",
            "mobile.demo",
        ] {
            assert!(topics.contains(topic), "{topic}");
        }
        assert_eq!(topics.iter().filter(|topic| topic.starts_with("prices.")).count(), 3);
        assert!(said.iter().all(|said| said.meta.contains(r#""simulated":true"#)));
    }

    #[test]
    fn everything_is_taken_and_the_states_stay_small() {
        let mut states = BTreeMap::new();
        for Said { topic, kind, payload, meta } in said(2_000) {
            let event = PublishEvent::new(kind, &payload, Some(&meta), None).expect("an event");
            PublishBatch::of(vec![event.clone()], None).expect("a batch");
            let state = states.remove(&topic).flatten();
            states.insert(topic, fold(state, event.kind, &payload));
        }
        let orders: Value =
            serde_json::from_slice(states["trading.demo"].as_ref().expect("a state")).expect("JSON");
        assert_eq!(orders["orders"].as_object().expect("orders").len(), 1, "filled orders are gone");
        assert!(states.values().flatten().all(|state| state.len() < 300));
    }

    #[test]
    fn the_rate_is_bounded() {
        let mut desk = Desk::new();
        desk.open();
        assert!((0..1_000).all(|_| desk.tick().len() <= 10), "posts of a quarter of a second");
        assert!(said(1_000).len() <= 6_000, "four times a second, that is 24 posts a second");
    }
}
