use serde_json::{Value, json};

use super::*;
use crate::event::Channel;
use crate::source::SourceState;
use crate::spec::Window;
use crate::window::tests::{status, stream, trade};

/// Aggregates of 5 s from 0:10 to 1:15, in each of which a price of its number (0, 1, …) was traded once, in alternating amounts.
fn aggregates() -> Vec<Aggregate> {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades]);
    let mut closed = Vec::new();
    for number in 0..13_i64 {
        let at = 10_000 + number * 5_000;
        windows.at(at, trade(&format!("{number}*{}", 1 + number % 2)));
        closed.extend(windows.close_due(UnixNanos::from_millis(at)));
    }
    closed.extend(windows.close_due(UnixNanos::from_millis(75_750)));
    closed
}

fn window(seconds: u64) -> Window {
    Window::parse(&format!("{seconds}s")).expect("window")
}

fn resample(seconds: u64, on: &str, agg: &[Agg]) -> Transform {
    Transform::Resample { window: window(seconds), on: on.into(), agg: agg.iter().copied().collect() }
}

fn run(transforms: &[Transform], aggregates: Vec<Aggregate>) -> Vec<Value> {
    let mut pipeline = Pipeline::new(transforms);
    let rows = aggregates.into_iter().flat_map(|aggregate| pipeline.push(aggregate));
    rows.map(|row| object(&row)).collect()
}

fn object(row: &Row) -> Value {
    let text = [b"{".as_slice(), &row.to_record().body, b"}"].concat();
    serde_json::from_slice(&text).expect("JSON")
}

const EVERY: [Agg; 6] = [Agg::Mean, Agg::Last, Agg::Sum, Agg::Min, Agg::Max, Agg::Count];

#[test]
fn resample_gives_one_event_per_longer_window() {
    let rows = run(&[resample(30, "price_avg", &EVERY)], aggregates());
    assert_eq!(rows.len(), 2, "the third is not at its end");
    let figures: Vec<_> =
        EVERY.iter().map(|agg| rows[1][format!("price_avg_{}", agg.name())].clone()).collect();
    assert_eq!(figures, [json!(6.5), json!(9), json!(39), json!(4), json!(9), json!(6)]);
    assert_eq!(rows[1]["window_start"], "1970-01-01T00:00:30.000Z");
    assert_eq!(rows[1]["window_end"], "1970-01-01T00:01:00.000Z");
    assert_eq!(
        (&rows[0]["complete"], &rows[1]["complete"]),
        (&json!(false), &json!(true)),
        "the first began late"
    );
    assert_eq!(rows[0]["window_start"], "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_longer_window_is_as_if_the_interval_had_been_longer() {
    let rows = run(&[resample(30, "vwap", &[Agg::Mean])], aggregates());
    for (field, value) in [
        ("price_open", json!(4)),
        ("price_high", json!(9)),
        ("price_low", json!(4)),
        ("price_close", json!(9)),
        ("price_avg", json!(6.5)),
        ("volume_sum", json!(9)),
        ("vwap", json!(6.666_666_666_666_667)),
    ] {
        assert_eq!(rows[1][field], value, "{field}");
    }
    assert_eq!(rows[1]["raw_data"]["trades"], 6);
    assert_eq!(rows[1]["raw_data"]["by_exchange"]["binance"]["volume_sum"], 9);
}

#[test]
fn price_means_the_close() {
    let rows = run(&[resample(30, "price", &[Agg::Sum])], aggregates());
    assert_eq!(rows[1]["price_sum"], 39);
}

#[test]
fn count_tells_how_many_events_there_were() {
    let rows = run(&[Transform::Count { window: window(30), name: "event_count".into() }], aggregates());
    assert_eq!(rows.iter().map(|row| row["event_count"].clone()).collect::<Vec<_>>(), [4, 6]);
}

#[test]
fn transforms_follow_each_other() {
    let rows = run(
        &[
            resample(10, "price_avg", &[Agg::Last]),
            resample(30, "price_avg_last", &[Agg::Mean]),
            Transform::Count { window: window(30), name: "n".into() },
        ],
        aggregates(),
    );
    assert_eq!(rows[1]["price_avg_last_mean"], 7, "of 5, 7, 9");
    assert_eq!((&rows[1]["price_avg_last"], &rows[1]["n"]), (&json!(9), &json!(6)));
}

#[test]
fn project_leaves_the_named_fields_and_what_tells_events_apart() {
    let project = |fields: &[&str]| Transform::Project {
        fields: fields.iter().map(|f| (*f).into()).collect(),
        named: [].into(),
    };
    let rows = run(
        &[project(&["price_avg", "vwap", "by_exchange"]), project(&["by_exchange", "vwap"])],
        aggregates(),
    );
    let names: Vec<_> = rows[0].as_object().expect("object").keys().cloned().collect();
    assert_eq!(names, ["by_exchange", "symbol", "vwap", "window_end", "window_start"]);
    assert_eq!(rows[0]["by_exchange"]["binance"]["trades"], 1);
    let rows = run(&[project(&["vwap"]), resample(30, "vwap", &[Agg::Max])], aggregates());
    assert_eq!((&rows[1]["vwap_max"], rows[1].get("late")), (&json!(9), None));
}

#[test]
fn project_calls_figures_as_it_is_told_to_from_there_on() {
    let project = Transform::Project {
        fields: ["vwap".into()].into(),
        named: [("price".into(), "price_avg".into())].into(),
    };
    let rows = run(std::slice::from_ref(&project), aggregates());
    let names: Vec<_> = rows[0].as_object().expect("object").keys().cloned().collect();
    assert_eq!(names, ["price", "symbol", "vwap", "window_end", "window_start"]);
    assert_eq!(rows[1]["price"], rows[1]["vwap"], "one trade each");
    let again = Transform::Project { fields: ["price".into()].into(), named: [].into() };
    let rows = run(&[project, again, resample(30, "price", &[Agg::Max])], aggregates());
    assert_eq!((&rows[1]["price_max"], rows[1].get("vwap")), (&json!(9), None));
}

#[test]
fn a_longer_window_with_a_hole_is_not_complete() {
    let mut kept = aggregates();
    kept.retain(|a| {
        a.window_start() != UnixNanos::from_secs(40) && a.window_end() != UnixNanos::from_secs(30)
    });
    let rows = run(&[resample(30, "price", &[Agg::Count])], kept);
    let told: Vec<_> =
        rows.iter().map(|row| (row["price_count"].as_u64(), row["complete"].as_bool())).collect();
    assert_eq!(told, [(Some(3), Some(false)), (Some(5), Some(false))], "the first never came to its end");
    assert_eq!(rows[0]["window_end"], "1970-01-01T00:00:30.000Z");
}

#[test]
fn a_longer_window_without_its_end_is_not_complete() {
    let mut kept = aggregates();
    kept.retain(|aggregate| aggregate.window_end() != UnixNanos::from_secs(40));
    let rows = run(&[resample(20, "price", &[Agg::Count])], kept);
    let complete: Vec<_> = rows.iter().map(|row| row["complete"] == true).collect();
    assert_eq!(complete, [false, false, true], "the first began late");
    assert_eq!(rows[1]["window_end"], "1970-01-01T00:00:40.000Z");
}

#[test]
fn what_was_down_in_any_part_is_named() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades]);
    windows.at(10_000, trade("1*1"));
    let mut closed = windows.close_due(UnixNanos::from_millis(15_750));
    windows.set_source("binance", &status(SourceState::Failed), None, UnixNanos::from_millis(16_000));
    closed.extend(windows.close_due(UnixNanos::from_millis(20_750)));
    assert!(closed[0].is_complete());
    let rows = run(&[resample(10, "price", &[Agg::Last])], closed);
    assert_eq!(rows[0]["raw_data"]["down"], json!(["binance"]));
}

#[test]
fn an_unknown_value_is_not_counted() {
    let rows = run(&[resample(30, "bid_avg", &EVERY)], aggregates());
    assert_eq!((&rows[1]["bid_avg_mean"], &rows[1]["bid_avg_sum"]), (&Value::Null, &Value::Null));
    assert_eq!(rows[1]["bid_avg_count"], 0);
}
