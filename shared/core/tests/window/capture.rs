//! Real trades of Binance spot, against the plain computation over the frames' own JSON.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use bond_core::instrument::Venue;
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::trades::{Known, aggregates, compare, expected};

const CAPTURE: &str = "binance-spot-btcusdt-20240808.ndjson.gz";

#[allow(clippy::disallowed_methods, reason = "the tests' only setting: where the captures are")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The capture's lines: our receive time in ns, a space, the frame. `None` where it is absent, which CI does not let pass.
fn lines() -> Option<Vec<String>> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/captures"));
    let path = setting("BOND_CAPTURES").map_or(beside, PathBuf::from).join(CAPTURE);
    let Ok(file) = std::fs::File::open(&path) else {
        assert_ne!(setting("CI").as_deref(), Some("true"), "no capture at {}", path.display());
        eprintln!("SKIPPED: no capture at {}; set BOND_CAPTURES to their directory", path.display());
        return None;
    };
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    Some(lines.collect::<Result<_, _>>().expect("a readable capture"))
}

fn trade(line: &str) -> Option<Known> {
    let (received, frame) = line.split_once(' ')?;
    let frame: Value = serde_json::from_str(frame).ok()?;
    let data = frame.get("data").filter(|data| data["e"] == "trade")?;
    Some(Known {
        venue: Venue::Binance,
        at: data["T"].as_i64()?,
        arrived: received.parse::<i64>().ok()? / 1_000_000,
        price: data["p"].as_str()?.to_owned(),
        size: data["q"].as_str()?.to_owned(),
    })
}

#[test]
fn windows_of_captured_trades_are_exact_to_the_last_digit() {
    const INTERVAL_MS: u64 = 5_000;
    let Some(lines) = lines() else { return };
    let trades: Vec<Known> = lines.iter().filter_map(|line| trade(line)).collect();
    assert_eq!(trades.len(), 9_757);
    let expected = expected(&trades, INTERVAL_MS, 8);
    let aggregates = aggregates(&trades, INTERVAL_MS);
    let span =
        expected.last_key_value().expect("windows").0 - expected.first_key_value().expect("windows").0 + 1;
    assert_eq!(
        aggregates.len(),
        usize::try_from(span).expect("positive"),
        "one per window, the empty ones too"
    );
    let bodies = aggregates.iter().map(|a| (a.window_start(), a.to_record().body.to_vec()));
    assert_eq!(compare(bodies, &expected, INTERVAL_MS), expected.len());
    assert!(aggregates[1..].iter().all(bond_core::window::Aggregate::is_complete));
}
