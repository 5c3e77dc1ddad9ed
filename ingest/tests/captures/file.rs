//! Where the captures are, and what is in them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use bond_core::instrument::{MarketType, Venue};
use bond_core::time::{ManualClock, UnixNanos};
use bond_ingest::normalize::{Counts, normalize};
use flate2::read::GzDecoder;

#[allow(clippy::disallowed_methods, reason = "the tests' only setting: where the captures are")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn directory() -> PathBuf {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures"));
    setting("BOND_CAPTURES").map_or(beside, PathBuf::from)
}

/// A capture's lines; `None` where it is absent, which CI does not let pass.
pub(crate) fn lines(name: &str) -> Option<Vec<String>> {
    let path = directory().join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        assert_ne!(setting("CI").as_deref(), Some("true"), "no capture at {}", path.display());
        eprintln!("SKIPPED: no capture at {}; set BOND_CAPTURES to their directory", path.display());
        return None;
    };
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    Some(lines.collect::<Result<_, _>>().expect("a readable capture"))
}

/// What `normalize` makes of lines: the counts and the events, as JSON.
pub(crate) fn events(venue: Venue, market: MarketType, lines: &[String]) -> (Counts, Vec<String>) {
    let clock = ManualClock::new(UnixNanos::EPOCH);
    let mut output = Vec::new();
    let input = lines.join("\n");
    let counts = normalize((venue, market), None, &clock, input.as_bytes(), &mut output).expect("normalised");
    let output = String::from_utf8(output).expect("UTF-8");
    (counts, output.lines().map(str::to_owned).collect())
}
