//! One that does not read holds up nobody and costs little.

use std::time::Duration;

use anyhow::{Result, bail};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::process::{Bond, ws_url};
use bond_e2e::socket::Socket;
use serde_json::Value;
use tokio::time::Instant;

const STALLED: u64 = 50;

/// What one of them may cost in the process.
const COST: u64 = 256 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_reading_cost_little_and_hold_up_nobody() -> Result<()> {
    // A small ring, so that it is full when memory is measured first: what grows after that is the clients' doing.
    let settings = [("BOND_RING_SECONDS", "2"), ("BOND_RING_MIB", "4")];
    let bond = Bond::up(&["--sim-rate", "2000"], &settings).await?;
    let created = bond.stream("BTC trades tick by tick").await?;
    let mut reader = Socket::open(&ws_url(&created, "")).await?;
    let mut numbers = Numbers::default();
    read_for(&mut reader, &mut numbers, Duration::from_secs(3)).await?;
    let before = bond.resident_bytes()?;
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        let query = if number % 2 == 0 { "&control=true" } else { "&batch=100" };
        stalled.push(Socket::open(&ws_url(&created, query)).await?);
    }
    read_for(&mut reader, &mut numbers, Duration::from_secs(6)).await?;
    let grown = bond.resident_bytes()?.saturating_sub(before);
    println!("{STALLED} stalled clients cost {} KiB each", grown / 1024 / STALLED);
    assert!(grown < STALLED * COST, "{grown} bytes");
    let Some(mut late) = stalled.into_iter().next() else { return Ok(()) };
    tells_what_was_skipped(&mut late).await
}

/// A live client's events must stay contiguous meanwhile.
async fn read_for(reader: &mut Socket, numbers: &mut Numbers, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        numbers.take(&reader.head().await?)?;
    }
    Ok(())
}

/// One that reads again learns exactly which numbers it missed.
async fn tells_what_was_skipped(late: &mut Socket) -> Result<()> {
    let mut numbers = Numbers::default();
    numbers.take(&late.head().await?)?;
    let mut gaps = 0;
    for _ in 0..20_000 {
        let text = late.text().await?;
        let head = Head::read(&text)?;
        if head.kind == "gap" {
            let gap: Value = serde_json::from_str(&text)?;
            assert_eq!(
                (gap["from_seq"].as_u64(), &gap["reason"]),
                (Some(numbers.last + 1), &"slow_consumer".into())
            );
            numbers.last = gap["to_seq"].as_u64().unwrap_or_default();
            gaps += 1;
        } else if head.is_event() {
            numbers.take(&head)?;
            if gaps > 0 && numbers.last % 500 == 0 {
                return Ok(());
            }
        }
    }
    bail!("20000 frames without a gap")
}
