//! Trades of many venues in any order of arrival within the lag, against the plain computation.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_core::decimal::{Price, Quantity};
use bond_core::event::{Channel, MarketData, MarketEvent, Side, Trade};
use bond_core::event_clock::ClockPace;
use bond_core::instrument::{Instrument, Symbol, Venue};
use bond_core::spec::{Agg, Transform, Window};
use bond_core::time::UnixNanos;
use bond_core::window::transform::Pipeline;
use bond_core::window::{Aggregate, Config, Subject, Windows};
use num_bigint::BigInt;
use proptest::prelude::*;

use crate::exact::{at_scale, fields, ratio, text};

/// What a test knows of a trade. Times in ms.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) venue: Venue,
    pub(crate) at: i64,
    pub(crate) arrived: i64,
    pub(crate) price: String,
    pub(crate) size: String,
}

const LAG_MS: i64 = 250;

pub(crate) fn windows_of(interval_ms: u64) -> Windows {
    let symbol = Symbol::parse("BTC/USDT").expect("symbol");
    let config = Config {
        interval: Duration::from_millis(interval_ms),
        max_lag: Duration::from_millis(250),
        ring: Duration::from_secs(3600),
        pace: ClockPace::Venues,
        subjects: vec![Subject {
            symbol: Some(symbol),
            channels: [Channel::Trades].into(),
            ..Subject::default()
        }],
    };
    Windows::new(config, UnixNanos::EPOCH)
}

pub(crate) fn event(trade: &Known) -> MarketEvent {
    let symbol = Symbol::parse("BTC/USDT").expect("symbol");
    MarketEvent {
        instrument: Instrument::shared(trade.venue, symbol),
        ts_event: UnixNanos::from_millis(trade.arrived),
        ts_exchange: Some(UnixNanos::from_millis(trade.at)),
        data: MarketData::Trade(Trade {
            price: Price::parse(&trade.price).expect("price"),
            size: Quantity::parse(&trade.size).expect("size"),
            side: Side::Buy,
            trade_id: "1".into(),
        }),
    }
}

/// All aggregates until the window of the last trade is closed.
pub(crate) fn aggregates(trades: &[Known], interval_ms: u64) -> Vec<Aggregate> {
    let mut windows = windows_of(interval_ms);
    let mut closed = Vec::new();
    for trade in trades {
        let now = UnixNanos::from_millis(trade.arrived);
        windows.push_market(&event(trade), now);
        closed.extend(windows.close_due(now));
    }
    let until = trades.iter().map(|trade| trade.at).max().unwrap_or(0);
    while closed.last().is_none_or(|last| last.window_end() <= UnixNanos::from_millis(until)) {
        let deadline = windows.next_deadline().expect("a clock");
        closed.extend(windows.close_due(deadline));
    }
    closed
}

/// The figures of the windows that have trades, by window number. `trades` in the order of arrival.
pub(crate) fn expected(
    trades: &[Known],
    interval_ms: u64,
    scale: usize,
) -> BTreeMap<i64, Vec<(&'static str, String)>> {
    let interval = i64::try_from(interval_ms).expect("short");
    let mut by_window: BTreeMap<i64, Vec<&Known>> = BTreeMap::new();
    for trade in trades {
        by_window.entry(trade.at.div_euclid(interval)).or_default().push(trade);
    }
    by_window.into_iter().map(|(window, trades)| (window, figures(trades, scale))).collect()
}

fn figures(mut trades: Vec<&Known>, scale: usize) -> Vec<(&'static str, String)> {
    trades.sort_by_key(|trade| (trade.at, trade.venue.name()));
    let prices: Vec<BigInt> = trades.iter().map(|trade| at_scale(&trade.price, scale)).collect();
    let sizes: Vec<BigInt> = trades.iter().map(|trade| at_scale(&trade.size, scale)).collect();
    let volume: BigInt = sizes.iter().sum();
    let notional: BigInt = prices.iter().zip(&sizes).map(|(price, size)| price * size).sum();
    let mean = ratio(&prices.iter().sum(), &prices.len().into(), scale);
    let vwap = if volume == BigInt::ZERO { mean.clone() } else { ratio(&notional, &volume, scale) };
    let price = |price: Option<&BigInt>| text(price.expect("a trade"), scale);
    vec![
        ("price_avg", mean),
        ("vwap", vwap),
        ("volume_sum", text(&volume, scale)),
        ("price_open", price(prices.first())),
        ("price_high", price(prices.iter().max())),
        ("price_low", price(prices.iter().min())),
        ("price_close", price(prices.last())),
        ("late", "0".to_owned()),
    ]
}

pub(crate) fn compare(
    bodies: impl IntoIterator<Item = (UnixNanos, Vec<u8>)>,
    expected: &BTreeMap<i64, Vec<(&'static str, String)>>,
    interval_ms: u64,
) -> usize {
    let interval = i64::try_from(interval_ms).expect("short");
    let mut compared = 0;
    for (start, body) in bodies {
        let Some(figures) = expected.get(&start.as_millis().div_euclid(interval)) else { continue };
        let fields = fields(&body);
        for (name, value) in figures {
            assert_eq!(&fields[*name], value, "{name} of the window from {start}");
        }
        compared += 1;
    }
    compared
}

fn decimal() -> impl Strategy<Value = String> {
    (0..1_000_000_000_000_u64, 0..=18_usize).prop_map(|(mantissa, scale)| text(&mantissa.into(), scale))
}

fn trade() -> impl Strategy<Value = Known> {
    let venue = prop::sample::select(vec![Venue::Binance, Venue::Bybit, Venue::Okx]);
    (venue, 1_000_000..1_020_000_i64, 0..LAG_MS, decimal(), decimal())
        .prop_map(|(venue, at, delay, price, size)| Known { venue, at, arrived: at + delay, price, size })
}

fn trades_as_they_arrive() -> impl Strategy<Value = Vec<Known>> {
    prop::collection::vec(trade(), 1..200).prop_map(|mut trades| {
        trades.sort_by_key(|trade| trade.arrived);
        trades
    })
}

proptest! {
    #[test]
    fn any_order_of_arrival_within_the_lag_gives_the_exact_figures(
        trades in trades_as_they_arrive(),
        interval in prop::sample::select(vec![100_u64, 1_000, 5_000]),
    ) {
        let expected = expected(&trades, interval, 18);
        let aggregates = aggregates(&trades, interval);
        let adjacent = aggregates.windows(2).all(|pair| pair[0].window_end() == pair[1].window_start());
        prop_assert!(adjacent, "every window is there, once");
        let bodies = aggregates.iter().map(|a| (a.window_start(), a.to_record().body.to_vec()));
        prop_assert_eq!(compare(bodies, &expected, interval), expected.len());
    }

    #[test]
    fn a_resampled_window_is_that_of_the_longer_interval(trades in trades_as_they_arrive()) {
        let expected = expected(&trades, 5_000, 18);
        let window = Window::parse("5s").expect("window");
        let resample = Transform::Resample { window, on: "price_close".into(), agg: [Agg::Last].into() };
        let mut pipeline = Pipeline::new(&[resample]);
        let rows = aggregates(&trades, 500).into_iter().flat_map(|aggregate| pipeline.push(aggregate));
        let bodies = rows.map(|row| (row.aggregate().window_start(), row.to_record().body.to_vec()));
        prop_assert!(compare(bodies, &expected, 5_000) + 1 >= expected.len(), "all but the last, which may be unfinished");
    }
}
