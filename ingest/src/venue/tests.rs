//! What the venues' tests share, and what holds for every venue and every frame.

use std::collections::BTreeMap;

use bond_core::event::Channel;
use bond_core::instrument::{Instrument, Symbol};
use bond_core::time::ManualClock;
use proptest::prelude::*;

use super::*;
use crate::normalize::{Counts, normalize};

/// What clients see of these frames, one line an event, and what became of the rest.
pub(super) fn normalised(
    venue: Venue,
    market: MarketType,
    instruments: Option<&str>,
    frames: &[&str],
) -> (Vec<String>, Counts) {
    let mut output = Vec::new();
    let clock = ManualClock::new(UnixNanos::from_millis(5));
    let (input, instruments) = (frames.join("\n"), instruments.map(str::as_bytes));
    let counts =
        normalize((venue, market), instruments, &clock, input.as_bytes(), &mut output).expect("normalised");
    let text = String::from_utf8(output).expect("UTF-8");
    (text.lines().map(str::to_owned).collect(), counts)
}

/// The one event of a frame, without what all events of an instrument begin with.
pub(super) fn event(venue: Venue, market: MarketType, instruments: Option<&str>, frame: &str) -> String {
    let (lines, counts) = normalised(venue, market, instruments, &[frame]);
    assert_eq!((lines.len(), &counts.rejects), (1, &BTreeMap::new()), "{lines:?}");
    lines[0].clone()
}

/// The reasons for which a frame is rejected.
pub(super) fn reasons(venue: Venue, market: MarketType, frame: &str) -> Vec<String> {
    normalised(venue, market, None, &[frame]).1.rejects.into_keys().collect()
}

/// What a connection makes of a frame.
pub(super) fn decoded(protocol: &mut dyn Protocol, frame: &str) -> Vec<Decoded> {
    let (mut out, mut rejects) = (Vec::new(), Vec::new());
    protocol.decode(frame, UnixNanos::EPOCH, &mut out, &mut rejects);
    assert_eq!(rejects, []);
    out
}

/// A connection that lists `names` with these symbols.
pub(super) fn connected(venue: Venue, market: MarketType, names: &[(&str, &str)]) -> Box<dyn Protocol> {
    let mut listings = Listings::default();
    for (name, symbol) in names {
        let symbol = Symbol::parse(symbol).expect("symbol");
        listings.insert(Listing::in_base_units(Instrument::shared(venue, symbol), name));
    }
    protocol(venue, market, Arc::new(listings)).expect("served")
}

pub(super) fn subscription(venue: Venue, symbol: &str, channel: Channel) -> Subscription {
    let symbol = Symbol::parse(symbol).expect("symbol");
    Subscription { instrument: Instrument::shared(venue, symbol), channel }
}

const SERVED: [(Venue, MarketType); 6] = [
    (Venue::Binance, MarketType::Spot),
    (Venue::Binance, MarketType::Perpetual),
    (Venue::Okx, MarketType::Spot),
    (Venue::Okx, MarketType::Perpetual),
    (Venue::Bybit, MarketType::Spot),
    (Venue::Bybit, MarketType::Perpetual),
];

#[test]
fn what_is_served_has_a_protocol() {
    for (venue, market) in SERVED {
        let protocol = protocol(venue, market, Arc::default()).expect("served");
        assert_eq!((protocol.venue(), protocol.market()), (venue, market));
    }
    for venue in Venue::ALL {
        assert_eq!(protocol(venue, MarketType::Spot, Arc::default()).is_some(), venue.is_served(), "{venue}");
    }
}

#[test]
fn a_channel_without_a_route_is_not_asked_for() {
    for (venue, market) in SERVED {
        let mut protocol = protocol(venue, market, Arc::default()).expect("served");
        for channel in Channel::ALL {
            let perpetual = market == MarketType::Perpetual;
            assert_eq!(protocol.route(channel).is_some(), perpetual || !channel.needs_perpetual(), "{venue}");
        }
        assert_eq!(
            protocol.subscribe(&[subscription(venue, "BTC/USDT", Channel::Trades)]),
            [""; 0],
            "not listed"
        );
    }
}

#[test]
fn a_push_of_nothing_is_a_sign_of_life() {
    for (venue, frame) in [
        (Venue::Okx, r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[]}"#),
        (Venue::Bybit, r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[]}"#),
        (
            Venue::Bybit,
            r#"{"topic":"tickers.BTCUSDT","type":"delta","ts":1,"data":{"symbol":"BTCUSDT","turnover24h":"1"}}"#,
        ),
    ] {
        let mut protocol = connected(venue, MarketType::Spot, &[]);
        assert_eq!(decoded(&mut *protocol, frame), [Decoded::Alive], "{frame}");
    }
}

/// Frames of every kind, to be mutilated.
fn samples() -> Vec<&'static str> {
    let files = [binance::tests::FRAMES, okx::tests::FRAMES, bybit::tests::FRAMES];
    files.concat()
}

/// Decodes a frame as every venue; each must say something of it.
fn decodes_everywhere(frame: &str) -> Result<(), TestCaseError> {
    for (venue, market) in SERVED {
        let (out, rejects) = meaning(venue, market, frame);
        let protocol = protocol(venue, market, Arc::default()).expect("served");
        prop_assert!(out.len() + rejects.len() > 0, "{venue} {market} is silent about {frame}");
        let symbol = Symbol::new("BTC", "USDT", market).expect("symbol");
        let _ = protocol.decode_snapshot(&Instrument { venue, symbol }, frame.as_bytes());
        let _ = protocol.decode_listings(frame.as_bytes());
    }
    Ok(())
}

/// What a connection of this market makes of one frame.
fn meaning(venue: Venue, market: MarketType, frame: &str) -> (Vec<Decoded>, Vec<Reject>) {
    let mut protocol = protocol(venue, market, Arc::new(Listings::by_spelling())).expect("served");
    let (mut out, mut rejects) = (Vec::new(), Vec::new());
    protocol.decode(frame, UnixNanos::EPOCH, &mut out, &mut rejects);
    (out, rejects)
}

#[test]
fn neither_the_order_of_keys_nor_white_space_matters() {
    for sample in samples() {
        let Ok(sorted) = serde_json::from_str::<serde_json::Value>(sample) else { continue };
        let spaced = serde_json::to_string_pretty(&sorted).expect("JSON");
        for (venue, market) in SERVED {
            assert_eq!(
                meaning(venue, market, &spaced),
                meaning(venue, market, sample),
                "{venue} {market} {sample}"
            );
        }
    }
}

/// A number without its needless zeros, by text alone.
fn canonical(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}", if whole.is_empty() { "0" } else { whole })
}

proptest! {
    #[test]
    fn a_number_is_kept_to_the_last_digit_or_rejected(number in "[0-9]{1,20}(\\.[0-9]{1,20})?") {
        let frame = format!(
            r#"{{"topic":"publicTrade.BTCUSDT","data":[{{"T":1723161255343,"s":"BTCUSDT","S":"Buy","v":"{number}","p":"1","i":"1"}}]}}"#
        );
        let (lines, counts) = normalised(Venue::Bybit, MarketType::Spot, None, &[&frame]);
        let kept = format!(r#""size":{},"#, canonical(&number));
        let too_long = number.len() > 19;
        let is_nothing = canonical(&number) == "0";
        prop_assert!(
            lines.iter().any(|line| line.contains(&kept))
                || too_long && counts.rejects.len() == 1
                || is_nothing && counts.other.len() == 1
        );
    }

    #[test]
    fn any_number_is_read_or_rejected(number in "-?[0-9]{0,40}(\\.[0-9]{0,40})?([eE][-+]?[0-9]{0,20})?") {
        for sample in samples() {
            decodes_everywhere(&sample.replace("\"1", &format!("\"{number}")))?;
        }
    }

    #[test]
    fn any_text_is_decoded_or_rejected(frame in any::<String>()) {
        decodes_everywhere(&frame)?;
    }

    #[test]
    fn any_mutilated_frame_is_decoded_or_rejected(
        sample in prop::sample::select(samples()),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[-0-9a-z\\[\\]{}\",:.\\\\é]{0,6}"), 1..5),
    ) {
        let mut frame: Vec<char> = sample.chars().collect();
        for (at, length, text) in cuts {
            let at = at.index(frame.len() + 1);
            let end = (at + length).min(frame.len());
            frame.splice(at..end, text.chars());
        }
        decodes_everywhere(&frame.into_iter().collect::<String>())?;
    }
}
