//! Captures of real frames, which are not part of the repository.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// The capture of this name in `BOND_CAPTURES`, by default `../shared/captures` beside the repository.
/// Where it is absent: `None` with a line that says SKIPPED, and a failure in CI.
#[allow(clippy::disallowed_methods, reason = "tests are told by the environment where captures are")]
pub fn find(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = std::env::var("BOND_CAPTURES").map_or_else(|_| root.join("../shared/captures"), PathBuf::from);
    let path = dir.join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").is_err(), "no capture {}: CI must have it", path.display());
    println!("SKIPPED: no capture {}; set BOND_CAPTURES", path.display());
    None
}

/// The frames of a capture, with their receive times in nanoseconds.
///
/// # Errors
/// Where the file cannot be read.
pub fn frames(path: &Path) -> anyhow::Result<Vec<(i64, String)>> {
    let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path)?)).lines();
    let mut frames = Vec::new();
    for line in lines {
        let line = line?;
        if let Some((time, frame)) = line.split_once(' ') {
            frames.push((time.parse()?, frame.to_owned()));
        }
    }
    Ok(frames)
}
