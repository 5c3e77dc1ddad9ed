//! Connections: lost in every way there is, and back by themselves.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bond_core::event::Channel::{OrderBook, Ticker, Trades};
use bond_core::instrument::Venue;
use bond_core::source::SourceState;
use bond_ingest::report::Report;

use crate::rig::{Rig, VENUES, hasty};

async fn is_told_and_recovers(fault: &str) {
    for venue in VENUES {
        let mut rig = Rig::new(venue, hasty()).await;
        rig.want(&[Trades, Ticker, OrderBook]);
        for channel in [Trades, Ticker, OrderBook] {
            rig.flow(channel, 1).await;
        }
        rig.inject(fault);
        rig.until(Trades, SourceState::Reconnecting).await;
        rig.until(Trades, SourceState::Connected).await;
        for channel in [Trades, Ticker, OrderBook] {
            rig.flow(channel, 3).await;
        }
    }
}

#[tokio::test]
async fn a_close_code() {
    is_told_and_recovers("close=1001").await;
}

#[tokio::test]
async fn a_tcp_reset() {
    is_told_and_recovers("reset").await;
}

#[tokio::test]
async fn a_notice_that_the_connection_will_end() {
    for venue in [Venue::Binance, Venue::Okx] {
        let mut rig = Rig::new(venue, hasty()).await;
        rig.want(&[Trades]);
        rig.until(Trades, SourceState::Connected).await;
        rig.inject("notice");
        let reason = rig.until(Trades, SourceState::Reconnecting).await;
        assert!(reason.starts_with("the venue asks to connect anew"), "{venue}: {reason}");
        rig.until(Trades, SourceState::Connected).await;
    }
}

#[tokio::test]
async fn a_venue_that_answers_503_to_everything() {
    for venue in VENUES {
        let mut rig = Rig::new(venue, hasty()).await;
        rig.inject("unavailable=500ms");
        rig.want(&[Trades]);
        let reason = rig.until(Trades, SourceState::Reconnecting).await;
        assert!(reason.contains("503"), "{venue}: {reason}");
        rig.until(Trades, SourceState::Connected).await;
    }
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(text).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_venue_that_refuses_connections_costs_one_line_a_backoff() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut rig = Rig::new(Venue::Binance, hasty()).await;
    rig.want(&[Trades]);
    rig.until(Trades, SourceState::Connected).await;
    rig.inject("refuse=1s");
    rig.inject("reset");
    rig.until(Trades, SourceState::Connected).await;
    let (lines, last) = (log.count("connection lost"), log.count("failures="));
    assert!((2..100).contains(&lines), "{lines} lines");
    assert_eq!(lines, last, "one line a failure, each with its number");
    assert_eq!(lines, log.count("WARN"), "and nothing else to worry about");
    for failure in 1..=lines {
        assert_eq!(log.count(&format!("failures={failure} ")), 1);
    }
}

#[tokio::test]
async fn silence_is_stale_and_ends_in_data() {
    for venue in VENUES {
        let mut rig = Rig::with_budget(venue, hasty(), Some(Duration::from_millis(700))).await;
        rig.want(&[Trades, Ticker]);
        rig.until(Trades, SourceState::Connected).await;
        rig.inject("silence:trade");
        let reason = rig.until(Trades, SourceState::Stale).await;
        assert!(reason.starts_with("no data for"), "{venue}: {reason}");
        rig.simulator.clear_faults();
        rig.until(Trades, SourceState::Connected).await;
        rig.flow(Trades, 3).await;
    }
}

#[tokio::test]
async fn a_frame_cut_off_in_the_middle_is_counted_and_the_connection_stays() {
    let mut rig = Rig::new(Venue::Binance, hasty()).await;
    rig.want(&[Trades]);
    rig.until(Trades, SourceState::Connected).await;
    rig.inject("malformed:trade:2");
    loop {
        match rig.report().await {
            Report::Rejected { count, .. } => break assert_eq!(count, 2),
            Report::Subscriptions(states) => panic!("{states:?}"),
            _ => {}
        }
    }
    rig.flow(Trades, 3).await;
}
