//! The loop's behaviour, over a venue in memory and under paused time.

mod books;
mod unused;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, MarketData, MarketEvent};
use bond_core::source::SourceState;
use bond_core::time::{ManualClock, UnixNanos};
use bytes::Bytes;
use tokio::time::Instant;

use super::Timing;
use super::liveness::Liveness;
use super::protocol_state::ProtocolState;
use super::statuses::Statuses;
use super::testing::Words;
use super::testing::{BUDGET, Bench, subscription, trades};
use crate::report::Report;
use crate::rest::RestError;
use crate::venue::ContinuityRule;

const BTC: &str = "BTC/USDT";

#[tokio::test(start_paused = true)]
async fn subscribes_decodes_and_tells_that_data_flow() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let mut peer = bench.accept().await;
    assert_eq!(peer.url.as_str(), "ws://venue.test/words");
    assert_eq!(peer.heard().await.as_deref(), Some("sub trades BTC/USDT"));
    bench.until(&trades(BTC), SourceState::Connecting).await;
    peer.say("trade BTC/USDT 100.5").await;
    let events = bench.events().await;
    assert!(matches!(&events[0].data, MarketData::Trade(trade) if trade.price.to_string() == "100.5"));
    bench.until(&trades(BTC), SourceState::Connected).await;
    bench.until_market(SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_comes_back_by_itself() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 100").await;
    bench.until(&trades(BTC), SourceState::Connected).await;
    peer.close("1006").await;
    assert!(bench.until(&trades(BTC), SourceState::Reconnecting).await.contains("1006"));
    let mut peer = bench.accept().await;
    assert_eq!(peer.heard().await.as_deref(), Some("sub trades BTC/USDT"));
    peer.say("trade BTC/USDT 101").await;
    bench.until(&trades(BTC), SourceState::Connected).await;
}

/// Small jittered waits cannot be told in advance, but they are at least zero and at most what the policy says.
#[tokio::test(start_paused = true)]
async fn backoff_is_reset_by_data_and_by_nothing_else() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    // Connections that open, are even acknowledged, and close again: ten of them are a failure.
    for _ in 0..10 {
        let peer = bench.accept().await;
        peer.say("ack trades BTC/USDT").await;
        peer.close("1001").await;
    }
    bench.until(&trades(BTC), SourceState::Failed).await;
    bench.until_market(SourceState::Failed).await;
    // It is tried again all the same, and one piece of data makes it good.
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    bench.until(&trades(BTC), SourceState::Connected).await;
    let lost = Instant::now();
    peer.close("1001").await;
    bench.accept().await;
    assert!(lost.elapsed() <= Duration::from_secs(6), "waited {:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn refused_connections_are_told_once_and_tried_again_without_a_flood() {
    let mut bench = Bench::trades_only();
    bench.refuse(12);
    bench.want(&[trades(BTC)]);
    let start = Instant::now();
    let reason = bench.until(&trades(BTC), SourceState::Reconnecting).await;
    assert_eq!(reason, "refused");
    bench.until(&trades(BTC), SourceState::Failed).await;
    let peer = bench.accept().await;
    assert_eq!(bench.attempts(), 13);
    assert!(start.elapsed() > Duration::from_secs(30), "12 attempts within {:?}", start.elapsed());
    peer.say("trade BTC/USDT 1").await;
    bench.until(&trades(BTC), SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_any_sign_of_life_is_dead_after_the_heartbeat() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let mut peer = bench.accept().await;
    peer.say("ack trades BTC/USDT").await;
    let silent = Instant::now();
    let reason = bench.until(&trades(BTC), SourceState::Reconnecting).await;
    assert_eq!(reason, "nothing heard for 30s");
    assert_eq!(silent.elapsed().as_secs(), 30);
    let mut said = Vec::new();
    while let Some(text) = peer.heard_any().await {
        said.push(text);
    }
    assert!(said.contains(&"ping frame".to_owned()), "{said:?}");
    assert!(said.contains(&"ping".to_owned()), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_subscription_goes_stale_is_asked_for_again_and_recovers() {
    let mut bench = Bench::trades_only();
    let (btc, eth) = (trades(BTC), trades("ETH/USDT"));
    bench.want(&[btc.clone(), eth.clone()]);
    let mut peer = bench.accept().await;
    peer.heard().await;
    peer.say("trade BTC/USDT 1").await;
    peer.say("trade ETH/USDT 1").await;
    bench.until(&eth, SourceState::Connected).await;
    // Only the neighbour goes on.
    let since = Instant::now();
    let neighbour = peer.mouth.clone();
    let reason = tokio::select! {
        reason = bench.until(&btc, SourceState::Stale) => reason,
        () = neighbour.repeat("trade ETH/USDT 1") => unreachable!(),
    };
    assert_eq!((since.elapsed(), reason.as_str()), (BUDGET, "no data for 20s"));
    assert_eq!(peer.heard().await.as_deref(), Some("unsub trades BTC/USDT"));
    assert_eq!(peer.heard().await.as_deref(), Some("sub trades BTC/USDT"));
    peer.say("trade BTC/USDT 2").await;
    bench.until(&btc, SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn accepted_but_never_delivered_is_stale_and_then_the_connections_fault() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let mut peer = bench.accept().await;
    peer.heard().await;
    peer.say("ack trades BTC/USDT").await;
    let story = async {
        let stale = bench.until(&trades(BTC), SourceState::Stale).await;
        assert!(stale.starts_with("acknowledged, but no data"), "{stale}");
        bench.until(&trades(BTC), SourceState::Reconnecting).await
    };
    tokio::select! {
        reason = story => assert!(reason.contains("neither acknowledged nor delivered"), "{reason}"),
        () = peer.mouth.repeat("pong") => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn data_need_no_acknowledgement_and_a_late_one_changes_nothing() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let mut peer = bench.accept().await;
    peer.heard().await;
    for step in 0..8 {
        peer.say("trade BTC/USDT 1").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        if step == 4 {
            peer.say("ack trades BTC/USDT").await;
        }
    }
    bench.want(&[]);
    assert_eq!(peer.heard().await.as_deref(), Some("unsub trades BTC/USDT"), "asked for only once");
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_unavailable_and_asked_for_at_a_slow_pace() {
    let mut bench = Bench::trades_only();
    let (btc, eth) = (trades(BTC), trades("ETH/USDT"));
    bench.want(&[btc.clone(), eth.clone()]);
    let mut peer = bench.accept().await;
    peer.heard().await;
    let refused = Instant::now();
    peer.say("no trades BTC/USDT").await;
    assert_eq!(bench.until(&btc, SourceState::Refused).await, "60018 wrong channel");
    let neighbour = peer.mouth.clone();
    tokio::select! {
        text = peer.heard() => assert_eq!(text.as_deref(), Some("sub trades BTC/USDT")),
        () = neighbour.repeat("trade ETH/USDT 1") => unreachable!(),
    }
    assert!(refused.elapsed() >= Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn what_the_venue_does_not_have_is_unavailable_without_a_connection() {
    let mut bench = Bench::trades_only();
    let (unlisted, funding) = (trades("DOGE/USDT"), subscription(BTC, Channel::Funding));
    bench.want(&[unlisted.clone(), funding.clone()]);
    assert_eq!(
        bench.until(&funding, SourceState::Unavailable).await,
        "the venue's market has no such channel"
    );
    assert_eq!(bench.until(&unlisted, SourceState::Unavailable).await, "not listed by the venue");
    bench.until_market(SourceState::Unavailable).await;
    assert_eq!(bench.attempts(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_listing_is_found_and_connected() {
    let mut lists = ["BTC/USDT", "BTC/USDT DOGE/USDT"].into_iter();
    let answers =
        move |_: &url::Url| Ok(Bytes::from_static(lists.next().unwrap_or("BTC/USDT DOGE/USDT").as_bytes()));
    let mut bench = Bench::with(Timing::default(), ContinuityRule::PlusOne, 256, answers);
    let doge = trades("DOGE/USDT");
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    bench.want(&[trades(BTC), doge.clone()]);
    bench.until(&doge, SourceState::Unavailable).await;
    let mut peer = loop {
        peer.say("trade BTC/USDT 1").await;
        tokio::select! {
            peer = bench.accept() => break peer,
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    };
    assert_eq!(peer.heard().await.as_deref(), Some("sub trades BTC/USDT trades DOGE/USDT"));
    peer.say("trade DOGE/USDT 1").await;
    bench.until(&doge, SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn the_list_of_instruments_is_tried_until_it_is_read() {
    let mut failures = 3;
    let answers = move |_: &url::Url| {
        failures -= 1;
        match failures {
            0.. => Err(RestError::Status { status: 503, retry_after: None }),
            _ => Ok(Bytes::from_static(b"BTC/USDT")),
        }
    };
    let mut bench = Bench::with(Timing::default(), ContinuityRule::PlusOne, 256, answers);
    bench.want(&[trades(BTC)]);
    bench.until_market(SourceState::Reconnecting).await;
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    bench.until_market(SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn subscriptions_change_while_running_and_an_idle_connection_is_closed() {
    let mut bench = Bench::trades_only();
    let (btc, eth, sol) = (trades(BTC), trades("ETH/USDT"), trades("SOL/USDT"));
    bench.want(&[btc.clone(), eth.clone()]);
    let mut first = bench.accept().await;
    assert_eq!(first.heard().await.as_deref(), Some("sub trades BTC/USDT trades ETH/USDT"));
    bench.want(&[btc.clone(), eth.clone(), sol.clone()]);
    let mut second = bench.accept().await;
    assert_eq!(second.heard().await.as_deref(), Some("sub trades SOL/USDT"), "two to a connection");
    first.say("ack trades BTC/USDT").await;
    bench.want(&[btc.clone(), sol.clone()]);
    assert_eq!(first.heard().await.as_deref(), Some("unsub trades ETH/USDT"));
    let idle = Instant::now();
    bench.want(&[btc]);
    assert_eq!(second.heard().await.as_deref(), Some("unsub trades SOL/USDT"));
    assert_eq!(second.heard().await, None);
    assert_eq!(idle.elapsed().as_secs(), 10);
    bench.cancel.cancel();
    assert_eq!(first.heard().await, None);
    bench.market.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_that_asks_for_it_is_connected_to_anew_at_once() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    peer.say("move").await;
    let asked = Instant::now();
    assert_eq!(
        bench.until(&trades(BTC), SourceState::Reconnecting).await,
        "the venue asks to connect anew: upgrade"
    );
    bench.accept().await;
    assert!(asked.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_full_channel_holds_up_reading_and_loses_nothing() {
    let answers = |_: &url::Url| Ok(Bytes::from_static(b"BTC/USDT ETH/USDT"));
    let mut bench = Bench::with(Timing::default(), ContinuityRule::PlusOne, 4, answers);
    bench.want(&[trades(BTC), trades("ETH/USDT")]);
    let peer = bench.accept().await;
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let venue = tokio::spawn(async move {
        for price in 1..=500 {
            let symbol = if price % 50 == 0 { "ETH/USDT" } else { BTC };
            peer.say(&format!("trade {symbol} {price}")).await;
        }
        peer
    });
    // Longer than any deadline of ours: the silence is nobody else's fault.
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!venue.is_finished(), "the venue must be held up");
    let mut prices = Vec::new();
    while prices.len() < 500 {
        match bench.report().await {
            Report::Events { events, .. } => prices.extend(events.into_iter().filter_map(price)),
            Report::Subscriptions(states) => {
                assert!(states.iter().all(|of| of.state <= SourceState::Connected), "{states:?}");
            }
            _ => {}
        }
    }
    assert_eq!(prices, (1..=500).map(|price| price.to_string()).collect::<Vec<_>>());
}

fn price(event: MarketEvent) -> Option<String> {
    match event.data {
        MarketData::Trade(trade) => Some(trade.price.to_string()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_mean_nothing_are_counted_and_reported_in_sum() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    for _ in 0..7 {
        peer.say("gibberish").await;
    }
    loop {
        if let Report::Rejected { count, reason, .. } = bench.report().await {
            assert_eq!((count, reason.as_str()), (7, "malformed: gibberish"));
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn raw_frames_come_only_while_asked_for() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    bench.market.set_raw(true);
    tokio::task::yield_now().await;
    peer.say("trade BTC/USDT 1").await;
    assert_eq!(bench.raw().await.as_deref(), Some("trade BTC/USDT 1"));
    bench.market.set_raw(false);
    tokio::task::yield_now().await;
    peer.say("trade BTC/USDT 2").await;
    assert_eq!(bench.raw().await, None);
}

#[tokio::test(start_paused = true)]
async fn our_messages_keep_the_venues_pace() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let mut peer = bench.accept().await;
    peer.heard().await;
    let mut sent = Vec::new();
    for wanted in [vec![], vec![trades(BTC)], vec![]] {
        bench.want(&wanted);
        tokio::task::yield_now().await;
    }
    bench.want(&[trades(BTC), trades("ETH/USDT")]);
    for _ in 0..2 {
        peer.heard().await;
        sent.push(Instant::now());
    }
    assert!(sent[1] - sent[0] >= Duration::from_millis(200), "{:?}", sent[1] - sent[0]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_before_the_venue_ends_it() {
    let mut bench = Bench::trades_only();
    let btc = trades(BTC);
    bench.want(std::slice::from_ref(&btc));
    let peer = bench.accept().await;
    let begun = Instant::now();
    let reason = tokio::select! {
        reason = bench.until(&btc, SourceState::Reconnecting) => reason,
        () = peer.mouth.repeat("trade BTC/USDT 1") => unreachable!(),
    };
    assert_eq!(reason, "end of the connection's planned life");
    let lived = begun.elapsed().as_secs();
    assert!((77_760..=86_400).contains(&lived), "{lived}");
    bench.accept().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_instrument_costs_its_neighbours_ever_less() {
    let mut bench = Bench::trades_only();
    let btc = trades(BTC);
    bench.want(&[btc.clone(), trades("ETH/USDT")]);
    let begun = Instant::now();
    // ETH never trades. Its neighbour does, on every connection.
    while begun.elapsed() < Duration::from_secs(4 * 3_600) {
        let peer = bench.accept().await;
        tokio::select! {
            _ = bench.until(&btc, SourceState::Reconnecting) => {}
            () = peer.mouth.repeat("trade BTC/USDT 1") => unreachable!(),
        }
    }
    assert!((3..20).contains(&bench.attempts()), "{} connections", bench.attempts());
}

#[tokio::test(start_paused = true)]
async fn what_is_unwanted_and_wanted_again_begins_anew() {
    let mut bench = Bench::trades_only();
    let btc = trades(BTC);
    bench.want(std::slice::from_ref(&btc));
    let mut peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    bench.until(&btc, SourceState::Connected).await;
    bench.want(&[]);
    peer.heard().await;
    assert_eq!(peer.heard().await.as_deref(), Some("unsub trades BTC/USDT"));
    bench.want(std::slice::from_ref(&btc));
    bench.until(&btc, SourceState::Connecting).await;
    peer.heard().await;
    peer.say("trade BTC/USDT 2").await;
    bench.until(&btc, SourceState::Connected).await;
}

/// The market may see a wish go and come back while the connection only sees that nothing has changed.
#[tokio::test(start_paused = true)]
async fn a_state_that_was_forgotten_meanwhile_is_told_again() {
    let (btc, now) = (trades(BTC), Instant::now());
    let wanted = BTreeSet::from([btc.clone()]);
    let statuses = Arc::new(Statuses::new(Arc::new(ManualClock::default())));
    let mut liveness = Liveness::new(BUDGET, BUDGET);
    let words = Box::new(Words::listing(&["BTC/USDT"]));
    let (listings, told) = (Arc::clone(&words.listings), Arc::clone(&statuses));
    let mut conversation = ProtocolState::new(words, listings, told, &mut liveness, Timing::default());
    conversation.want(&wanted, now);
    conversation.frame(&"trade BTC/USDT 1".into(), UnixNanos::EPOCH, now);
    conversation.take_effects();
    statuses.retain(&BTreeSet::new());
    conversation.want(&wanted, now);
    let reports = conversation.take_effects().reports;
    assert!(
        matches!(reports.as_slice(), [Report::Subscriptions(states)] if states[0].state == SourceState::Connected),
        "{reports:?}"
    );
    conversation.want(&BTreeSet::new(), now);
    assert_eq!(statuses.of(&btc), None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_of_a_fault_of_ours_is_replaced() {
    let mut bench = Bench::trades_only();
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    peer.say("panic").await;
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    bench.until(&trades(BTC), SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_the_list_are_read_and_what_cannot_be_read_costs_itself() {
    let answers = |url: &url::Url| {
        Ok(Bytes::from_static(match url.query() {
            None => b"BTC/USDT ? next=2".as_slice(),
            Some("page=2") => b"ETH/USDT ? next=3",
            Some(_) => b"DOGE/USDT",
        }))
    };
    let mut bench = Bench::with(Timing::default(), ContinuityRule::PlusOne, 256, answers);
    bench.want(&[trades("DOGE/USDT")]);
    let mut peer = bench.accept().await;
    assert_eq!(peer.heard().await.as_deref(), Some("sub trades DOGE/USDT"));
}

#[tokio::test(start_paused = true)]
async fn a_list_without_an_end_is_cut() {
    let mut pages = 0;
    let answers = move |_: &url::Url| {
        pages += 1;
        Ok(Bytes::from(format!("A{pages}/USDT next={pages}")))
    };
    let mut bench = Bench::with(Timing::default(), ContinuityRule::PlusOne, 256, answers);
    let beyond = trades("A33/USDT");
    bench.want(&[trades("A32/USDT"), beyond.clone()]);
    bench.until(&beyond, SourceState::Unavailable).await;
    assert_eq!(bench.accept().await.heard().await.as_deref(), Some("sub trades A32/USDT"));
}
