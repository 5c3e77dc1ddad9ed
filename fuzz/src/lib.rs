//! What outsiders can send, one target each: any bytes must be taken without a panic and in little time, and keep what the target says
//! of them.
//!
//! `tests/minute.rs` tries changed copies of the corpus with every test run; `make fuzz` lets libFuzzer look for new ones (`cover/`).

use std::collections::BTreeSet;
use std::io;

use bond_core::instrument::{MarketType, Venue};
use bond_core::message::{ClientMessage, Request};
use bond_core::spec::StreamSpec;
use bond_core::time::{ManualClock, UnixNanos};
use bond_ingest::normalize::normalize;
use bond_language::{Defaults, compile, read_spec_bytes};

/// A target: its name, which is that of its folder in `corpus`, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("frames", frames),
    ("messages", messages),
    ("specs", specs),
    ("sentences", sentences),
    ("binance", binance),
    ("okx", okx),
    ("bybit", bybit),
];

/// The most errors that one message may be answered with.
const MOST_ERRORS: usize = 16;

/// WebSocket frames of a client. The first byte says where the rest is cut: however it comes in, the same is understood.
fn frames(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let cut = usize::from(*cut).min(bytes.len());
    let whole = bond_edge::ws::fuzz::understood(&[bytes]);
    let (front, back) = bytes.split_at(cut);
    assert_eq!(bond_edge::ws::fuzz::understood(&[front, back]), whole, "cut at {cut}");
}

/// A client's message, and the filter in it.
fn messages(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(ClientMessage::Subscribe(message)) = Request::parse(text).message {
        let errors = message.filter().map_or(Vec::new(), |(_, errors)| errors);
        assert!(errors.len() <= MOST_ERRORS, "{} errors", errors.len());
    }
}

/// A stream's spec. What is taken is taken again as it is given back, with the same id, and so does the engine read it.
fn specs(data: &[u8]) {
    let Ok((spec, _)) = read_spec_bytes(data) else { return };
    let (again, _) = read_spec_bytes(spec.canonical().as_bytes()).expect("a canonical spec is one");
    assert_eq!(again.id(), spec.id());
    let stored: StreamSpec =
        serde_json::from_str(&spec.canonical()).expect("the engine reads a canonical spec");
    assert_eq!(stored.id(), spec.id());
}

/// A sentence. What it compiles to is a spec that is taken.
fn sentences(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let defaults = Defaults { venues: BTreeSet::from([Venue::Binance, Venue::Okx, Venue::Bybit]) };
    if let Ok(compiled) = compile(text, &defaults) {
        read_spec_bytes(compiled.spec.canonical().as_bytes()).expect("a compiled spec is one");
    }
}

fn binance(data: &[u8]) {
    venue(Venue::Binance, data);
}

fn okx(data: &[u8]) {
    venue(Venue::Okx, data);
}

fn bybit(data: &[u8]) {
    venue(Venue::Bybit, data);
}

/// What a venue sends. The first byte chooses the market, and whether the rest is a list of instruments or frames, one a line.
fn venue(venue: Venue, data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let market = if choice & 1 == 0 { MarketType::Spot } else { MarketType::Perpetual };
    let (list, frames) = if choice & 2 == 0 { (None, bytes) } else { (Some(bytes), &b""[..]) };
    let clock = ManualClock::new(UnixNanos::from_secs(1_800_000_000));
    // What is not understood is counted, or refused as a list: both are answers.
    let _ = normalize((venue, market), list, &clock, frames, io::sink());
}
