//! From a sentence to contiguous aggregates.

use std::time::Duration;

use anyhow::Result;
use bond_e2e::process::Bond;
use bond_e2e::socket::Socket;
use serde_json::Value;
use tokio::time::Instant;

const FIELDS: [&str; 22] = [
    "type",
    "topic",
    "epoch",
    "seq",
    "ts",
    "window_start",
    "window_end",
    "symbol",
    "price_avg",
    "price_open",
    "price_high",
    "price_low",
    "price_close",
    "vwap",
    "bid_avg",
    "ask_avg",
    "volume_sum",
    "tweets",
    "custom_count",
    "late",
    "complete",
    "raw_data",
];

#[tokio::test]
async fn a_sentence_gives_one_aggregate_an_interval_with_every_field() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    let created = bond.stream("BTC price + tweets every 1s").await?;
    let begun = Instant::now();
    let mut socket = Socket::open(created["ws_url"].as_str().unwrap_or_default()).await?;
    let mut last: Option<Value> = None;
    for _ in 0..4 {
        let event = socket.event().await?;
        if last.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(3), "one interval plus 2 s: {:?}", begun.elapsed());
        }
        for field in FIELDS {
            assert!(event.get(field).is_some(), "{field} is missing in {event}");
        }
        assert_eq!(event["raw_data"]["simulated"], true, "simulated data say so");
        if let Some(last) = &last {
            assert_eq!(event["window_start"], last["window_end"]);
            assert_eq!(event["seq"].as_u64(), last["seq"].as_u64().map(|seq| seq + 1));
            assert_eq!(event["epoch"], last["epoch"]);
        }
        last = Some(event);
    }
    Ok(())
}
