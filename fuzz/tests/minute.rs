//! Changed copies of every corpus file, for as long as `BOND_FUZZ_SECONDS` says, a few seconds a target by default.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bond_fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What one input may take, in a debug build on a busy machine. Without bounds on the work a few inputs take many seconds.
const SLOW: Duration = Duration::from_secs(2);

/// How an input is changed.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// A piece of it comes again, so many times.
    Repeat(prop::sample::Index, usize, usize),
    /// What another input has at a place goes here.
    Splice(prop::sample::Index, prop::sample::Index),
}

/// Pieces that mean something in JSON, numbers or text.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "1e308",
    "1E-400",
    "99999999999999999999",
    "NaN",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "é",
    "/",
    "-",
    "\n",
    "{}",
    "[]",
];

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (place(), prop::sample::select(&WORDS[..])).prop_map(|(at, word)| Change::Insert(at, word.into())),
        (place(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), 1..32_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (place(), 1..64_usize, 2..200_usize)
            .prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
        (place(), place()).prop_map(|(at, from)| Change::Splice(at, from)),
    ]
}

fn changed(mut input: Vec<u8>, changes: &[Change], others: &[Vec<u8>]) -> Vec<u8> {
    for change in changes {
        let place = |at: &prop::sample::Index, length: usize| at.index(length + 1);
        let length = input.len();
        match change {
            Change::Set(at, byte) if length > 0 => input[at.index(length)] = *byte,
            Change::Set(..) => {}
            Change::Insert(at, bytes) => {
                drop(input.splice(place(at, length)..place(at, length), bytes.clone()));
            }
            Change::Remove(at, count) => {
                let at = place(at, length);
                input.drain(at..(at + count).min(length));
            }
            Change::Repeat(at, count, times) => {
                let at = place(at, length);
                let piece = input[at..(at + count).min(length)].repeat(*times);
                input.splice(at..at, piece);
            }
            Change::Splice(at, from) => {
                let other = &others[from.index(others.len())];
                input.truncate(place(at, length));
                input.extend_from_slice(&other[place(from, other.len())..]);
            }
        }
    }
    input.truncate(64 * 1024);
    input
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(&folder).expect("a folder for each target");
    let mut paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

#[allow(clippy::disallowed_methods, reason = "how long to go on is told by the environment")]
fn patience() -> Duration {
    let seconds = std::env::var("BOND_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

fn try_out((name, target): Target, input: &[u8]) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let took = begun.elapsed();
    let shown = || String::from_utf8_lossy(input).chars().take(2_000).collect::<String>();
    assert!(outcome.is_ok(), "{name} panics at {:?}", shown());
    assert!(took < SLOW, "{name} takes {took:?} at {:?}", shown());
}

#[test]
fn no_input_brings_a_target_down_or_holds_it_up() {
    for target in TARGETS {
        let seeds = corpus(target.0);
        assert!(!seeds.is_empty(), "{} has no corpus", target.0);
        seeds.iter().for_each(|seed| try_out(target, seed));
        let inputs = (prop::sample::select(seeds.clone()), prop::collection::vec(change(), 1..6));
        // What fails is printed, and goes into the corpus.
        let mut runner =
            TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed()));
        let (end, mut count) = (Instant::now() + patience(), 0_u64);
        while Instant::now() < end {
            let (seed, changes) = inputs.new_tree(&mut runner).expect("an input").current();
            try_out(target, &changed(seed, &changes, &seeds));
            count += 1;
        }
        println!("{}: {count} inputs", target.0);
    }
}

/// The same inputs each time, so that a run can be repeated, unless `BOND_FUZZ_SEED` is another number.
#[allow(clippy::disallowed_methods, reason = "which inputs are tried is told by the environment")]
fn seed() -> [u8; 32] {
    let number: u64 = std::env::var("BOND_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}
