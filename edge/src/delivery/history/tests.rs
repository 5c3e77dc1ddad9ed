use std::time::Duration;

use bond_core::log::Record;
use bond_core::position::Start;

use super::*;
use crate::delivery::cursor::Skip;

const ROOMY: Retention = Retention { window: Duration::from_secs(60), bytes: 1 << 20 };

fn epoch(name: &str) -> Epoch {
    Epoch::new(name).expect("epoch")
}

fn event(seq: u64) -> Item {
    let at = UnixNanos::from_secs(seq as i64);
    let body = format!("\"n\":{seq}").into();
    let record = Record { kind: EventKind::Trade, ts: at, order: at, body, changes: None };
    Item::Event(Entry { seq, at, record })
}

fn status(after_seq: u64) -> Item {
    let at = UnixNanos::from_secs(after_seq as i64);
    Item::Status(Kept { after_seq, at, body: Bytes::from_static(b"\"state\":\"stale\"") })
}

fn history(retention: Retention, runs: &[(&str, Vec<Item>)]) -> History {
    let topic: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
    let mut history = History::new(&topic, "trades.okx.BTC-USDT", retention);
    history.begin(None, false, None);
    for (name, items) in runs {
        history.append(&Run { epoch: epoch(name), gap: None, items: items.clone() }, &mut 0);
    }
    history
}

/// What a client gets from `cursor` on, in turns of `budget` bytes: `type` and number of each frame.
fn read(history: &History, mut cursor: Cursor, control: bool, budget: u64) -> Vec<(String, u64)> {
    let (mut frames, mut bytes) = (Frames::default(), Vec::new());
    let mut events = 0;
    loop {
        history.frames(cursor, control, budget, &mut frames).expect("kept");
        let is_end = frames.to == cursor;
        cursor = frames.to;
        events += frames.events;
        assert_eq!(frames.slices.iter().map(Bytes::len).sum::<usize>(), frames.len());
        bytes.extend(frames.slices.concat());
        if is_end {
            break;
        }
    }
    let got = messages(&bytes);
    assert_eq!(got.iter().filter(|(kind, _)| kind == "trade").count() as u64, events);
    got
}

fn messages(mut bytes: &[u8]) -> Vec<(String, u64)> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let payload = frame::payload(bytes);
        let start = bytes.len() - payload.len();
        let length = if bytes[1] == 126 { u16::from_be_bytes([bytes[2], bytes[3]]) } else { bytes[1].into() };
        let json: serde_json::Value =
            serde_json::from_slice(&payload[..length.into()]).expect("a whole frame");
        let number = ["seq", "after_seq", "to_seq"].iter().find_map(|name| json[name].as_u64());
        messages.push((json["type"].as_str().expect("type").to_owned(), number.expect("number")));
        bytes = &bytes[start + usize::from(length)..];
    }
    messages
}

fn named(kinds: &[(&str, u64)]) -> Vec<(String, u64)> {
    kinds.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect()
}

#[test]
fn quiet_clients_get_the_events_and_others_everything_in_place() {
    let items = vec![status(0), event(1), event(2), status(2), status(2), event(3), status(3)];
    let history = history(ROOMY, &[("e1", items)]);
    for budget in [1, 300, 1 << 20] {
        let quiet = read(&history, Cursor::default(), false, budget);
        assert_eq!(quiet, named(&[("trade", 1), ("trade", 2), ("trade", 3)]), "{budget}");
        let told = read(&history, Cursor::default(), true, budget);
        let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["status", "trade", "trade", "status", "status", "trade", "status"], "{budget}");
    }
}

#[test]
fn picks_are_what_frames_are() {
    let items: Vec<Item> = (1..50).flat_map(|seq| [event(seq), status(seq)]).collect();
    let history = history(ROOMY, &[("e1", items)]);
    for control in [false, true] {
        let mut picks = Vec::new();
        history.picks(Cursor::default(), control, usize::MAX, &mut picks).expect("kept");
        let bytes = picks.iter().map(|pick| pick.frame.clone()).collect::<Vec<_>>().concat();
        assert_eq!(messages(&bytes), read(&history, Cursor::default(), control, 1 << 20));
    }
}

#[test]
fn what_comes_twice_is_there_once() {
    let runs = [("e1", vec![event(1), event(2)]), ("e1", vec![event(2), event(3)])];
    let got = read(&history(ROOMY, &runs), Cursor::default(), true, 1 << 20);
    assert_eq!(got, named(&[("trade", 1), ("trade", 2), ("trade", 3)]));
}

#[test]
fn a_new_epoch_is_announced_to_who_was_there_and_not_to_who_joins() {
    let history = history(ROOMY, &[("e1", vec![event(1)]), ("e2", vec![event(1), event(2)])]);
    let there = read(&history, Cursor::default(), true, 1 << 20);
    assert_eq!(there, named(&[("trade", 1), ("gap", 0), ("trade", 1), ("trade", 2)]));
    for start in [Start::At(UnixNanos::EPOCH), Start::After(Position { epoch: epoch("e2"), seq: 0 })] {
        let joined = history.join(&start, UnixNanos::EPOCH).expect("known");
        assert_eq!(joined.gap, None);
        assert_eq!(read(&history, joined.cursor, true, 1 << 20), named(&[("trade", 1), ("trade", 2)]));
    }
}

#[test]
fn a_start_in_time_begins_with_the_first_event_since_then() {
    let history = history(ROOMY, &[("e1", (1..=9).map(event).collect())]);
    for (secs, first) in [(0, 1), (5, 5), (9, 9)] {
        let start = Start::At(UnixNanos::from_secs(secs));
        let joined = history.join(&start, UnixNanos::EPOCH).expect("known");
        assert_eq!(read(&history, joined.cursor, false, 1 << 20)[0].1, first);
    }
    let later = history.join(&Start::At(UnixNanos::from_secs(10)), UnixNanos::EPOCH).expect("known");
    assert_eq!(read(&history, later.cursor, false, 1 << 20), []);
}

#[test]
fn whoever_joins_after_the_end_gets_nothing_of_what_was_before() {
    let mut history = history(ROOMY, &[("e1", (1..=3).map(event).collect())]);
    let follower = history.join(&Start::At(UnixNanos::EPOCH), UnixNanos::EPOCH).expect("known").cursor;
    history.end(UnixNanos::EPOCH, &mut 0);
    let late = history.join(&Start::At(UnixNanos::EPOCH), UnixNanos::EPOCH).expect("known").cursor;
    let position = Position { epoch: epoch("e1"), seq: 2 };
    assert_eq!(history.join(&Start::After(position), UnixNanos::EPOCH), None, "the next epoch is not known");
    assert_eq!(read(&history, follower, false, 1 << 20).len(), 3);
    assert_eq!(read(&history, late, false, 1 << 20), []);
    history.append(&Run { epoch: epoch("e2"), gap: None, items: vec![event(1)] }, &mut 0);
    assert_eq!(read(&history, late, false, 1 << 20), [("trade".to_owned(), 1)]);
    let all = read(&history, follower, true, 1 << 20);
    assert_eq!(all.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>()[3..], ["gap", "trade"]);
}

#[test]
fn old_items_go_by_time_and_by_bytes() {
    let mut by_time = history(ROOMY, &[("e1", (1..=100).map(event).collect())]);
    let now = UnixNanos::from_secs(100);
    by_time.trim(now);
    let joined = by_time.join(&Start::At(UnixNanos::EPOCH), now).expect("known");
    assert_eq!(joined.cursor.seq, 39, "who joins gets the window");
    assert_eq!(by_time.at_time(UnixNanos::EPOCH).seq, 37, "and is not at the edge of what is kept");
    let tight = Retention { bytes: 2_000, ..ROOMY };
    let mut by_bytes = history(tight, &[("e1", (1..=100).map(event).collect())]);
    by_bytes.trim(UnixNanos::EPOCH);
    assert!(by_bytes.tape.end() - by_bytes.start <= 2_000);
    assert_eq!(by_bytes.frames(Cursor::default(), false, 1, &mut Frames::default()), Err(BehindRing));
}

#[test]
fn who_fell_behind_is_told_exactly_what_it_misses() {
    let mut history = history(Retention { bytes: 2_000, ..ROOMY }, &[("e1", (1..=100).map(event).collect())]);
    history.trim(UnixNanos::EPOCH);
    let behind = Cursor { offset: 0, seq: 3, generation: 1 };
    let Skip { cursor, gap, dropped } = history.skip(behind);
    let (_, gap) = gap.expect("a gap");
    assert_eq!((gap.from_seq, gap.to_seq, gap.reason), (Some(4), cursor.seq, GapReason::SlowConsumer));
    assert_eq!(dropped, cursor.seq - 3);
    assert_eq!(read(&history, cursor, true, 1 << 20)[0].1, cursor.seq + 1);
}

#[test]
fn nobody_joins_before_the_ring_holds_what_the_log_held() {
    let topic: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
    let mut history = History::new(&topic, "trades.okx.BTC-USDT", ROOMY);
    let start = Start::At(UnixNanos::EPOCH);
    assert_eq!(history.join(&start, UnixNanos::EPOCH), None);
    history.begin(Some(Position { epoch: epoch("e1"), seq: 4 }), true, None);
    for (items, known) in [(vec![event(2), event(3)], false), (vec![event(4)], true)] {
        history.append(&Run { epoch: epoch("e1"), gap: None, items }, &mut 0);
        assert_eq!(history.join(&start, UnixNanos::EPOCH).is_some(), known);
    }
}

#[test]
fn what_still_comes_of_an_epoch_that_has_ended_is_for_nobody() {
    let mut history = history(ROOMY, &[("one", vec![event(1), event(2)])]);
    history.end(UnixNanos::EPOCH, &mut 0);
    let late = Run { epoch: epoch("one"), gap: None, items: vec![event(3)] };
    history.append(&late, &mut 0);
    let now = UnixNanos::from_secs(3);
    let cursor = history.join(&Start::Live, now).expect("known").cursor;
    let next = Run { epoch: epoch("two"), gap: None, items: vec![event(1)] };
    history.append(&next, &mut 0);
    let events: Vec<_> = read(&history, cursor, false, 1 << 20);
    assert_eq!(events, [("trade".to_owned(), 1)]);
}
