//! Subscriptions: acknowledged late, never, or not at all; and changed while running.

use bond_core::event::Channel::{OrderBook, Ticker, Trades};
use bond_core::source::SourceState;
use bond_sim::Entry;

use crate::rig::{Rig, VENUES, hasty};

async fn is_subscribed_once(fault: &str) {
    for venue in VENUES {
        let mut rig = Rig::new(venue, hasty()).await;
        rig.inject(fault);
        rig.want(&[Trades]);
        rig.until(Trades, SourceState::Connected).await;
        rig.flow(Trades, 20).await;
        assert_eq!(rig.subscribed(), 1, "{venue}");
    }
}

#[tokio::test]
async fn a_late_acknowledgement() {
    is_subscribed_once("ack-late=300ms").await;
}

#[tokio::test]
async fn an_acknowledgement_after_data() {
    is_subscribed_once("ack-after-data").await;
}

#[tokio::test]
async fn no_acknowledgement() {
    is_subscribed_once("ack-never").await;
}

#[tokio::test]
async fn a_refused_subscription_is_unavailable_until_the_venue_takes_it() {
    for venue in VENUES {
        let mut rig = Rig::new(venue, hasty()).await;
        rig.inject("refuse-subscription");
        rig.want(&[Trades]);
        rig.until(Trades, SourceState::Refused).await;
        rig.until(Trades, SourceState::Connected).await;
    }
}

#[tokio::test]
async fn what_is_wanted_changes_on_one_connection() {
    for venue in VENUES {
        let mut rig = Rig::new(venue, hasty()).await;
        rig.want(&[Trades]);
        rig.flow(Trades, 1).await;
        rig.want(&[Trades, Ticker, OrderBook]);
        rig.flow(Ticker, 1).await;
        rig.flow(OrderBook, 1).await;
        rig.want(&[OrderBook]);
        rig.journal(|entry| matches!(entry, Entry::Unsubscribed { .. })).await;
        rig.flow(OrderBook, 5).await;
        let connections = |entry: &&Entry| matches!(entry, Entry::Connected { .. });
        assert_eq!(rig.simulator.journal().entries().iter().filter(connections).count(), 1, "{venue}");
    }
}
