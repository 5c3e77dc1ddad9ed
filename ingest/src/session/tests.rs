//! The loop's behaviour, over a venue in memory and under paused time.

use std::time::Duration;

use bond_core::event::{Channel, MarketData};
use bond_core::source::SourceState;
use bytes::Bytes;
use tokio::time::Instant;

use super::Timing;
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
