//! The seeded market in each venue's own words.

mod binance;
mod bybit;
mod list;
mod okx;
mod view;

use crate::clock::UnixNanos;
use crate::config::{Market, Venue};
use crate::fault::Filter;
use crate::frame::{Class, Outlet};
use crate::market::{Event, Exchange, Instrument, Level, Spec, Step};
use crate::rest::{Answer, Request};

pub(crate) use list::{Listing, binance_info, bybit_info, okx_info};

/// How a venue publishes what happens in its market.
trait Wire: std::fmt::Debug + Send {
    /// Something happened in `instruments[index]`.
    fn event(&mut self, index: usize, instrument: &Instrument, event: &Event, outlet: &mut Outlet<'_>);

    /// A multiple of [`crate::market::BOUNDARY`]: periodic channels publish what changed.
    fn boundary(&mut self, index: usize, instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>);

    /// What a new subscriber to `stream` gets first.
    fn greet(
        &mut self,
        instruments: &mut [Instrument],
        stream: &str,
        now: UnixNanos,
        outlet: &mut Outlet<'_>,
    );

    /// A REST answer.
    fn answer(&mut self, instruments: &mut [Instrument], request: &Request, now: UnixNanos) -> Answer;

    /// The ids of a book jump ahead; its next delta does not follow the last.
    fn jump(&mut self, index: usize, instrument: &mut Instrument, by: u64);

    /// The stream of the instrument's book, for filters.
    fn book_stream(&self, spec: &Spec) -> String;
}

#[derive(Debug)]
pub(crate) struct Seeded {
    exchange: Exchange,
    wire: Box<dyn Wire>,
}

impl Seeded {
    pub(crate) fn new(venue: Venue, market: Market, seed: u64, rate: f64, now: UnixNanos) -> Self {
        let exchange = Exchange::new(seed, venue, market, rate, now);
        let wire = wire(venue, market, &exchange.instruments);
        Self { exchange, wire }
    }

    pub(crate) fn due(&self) -> UnixNanos {
        self.exchange.due()
    }

    pub(crate) fn advance(&mut self, now: UnixNanos, outlet: &mut Outlet<'_>) {
        self.exchange.skip_pause(now);
        while self.exchange.due() <= now {
            self.step(outlet);
        }
    }

    fn step(&mut self, outlet: &mut Outlet<'_>) {
        match self.exchange.step() {
            Step::Events { instrument: index, events } => {
                let instrument = &self.exchange.instruments[index];
                for event in &events {
                    self.wire.event(index, instrument, event, outlet);
                }
            }
            Step::Boundary { at } => {
                for (index, instrument) in self.exchange.instruments.iter_mut().enumerate() {
                    self.wire.boundary(index, instrument, at, outlet);
                }
            }
        }
    }

    pub(crate) fn greet(&mut self, stream: &str, now: UnixNanos, outlet: &mut Outlet<'_>) {
        self.wire.greet(&mut self.exchange.instruments, stream, now, outlet);
    }

    pub(crate) fn lists(&self, symbol: &str) -> bool {
        self.exchange.instruments.iter().any(|instrument| instrument.spec.symbol == symbol)
    }

    pub(crate) fn answer(&mut self, request: &Request, now: UnixNanos) -> Answer {
        self.wire.answer(&mut self.exchange.instruments, request, now)
    }

    pub(crate) fn jump(&mut self, by: u64, filter: &Filter) {
        for (index, instrument) in self.exchange.instruments.iter_mut().enumerate() {
            if filter.matches(&self.wire.book_stream(&instrument.spec), Class::Book) {
                self.wire.jump(index, instrument, by);
            }
        }
    }
}

fn wire(venue: Venue, market: Market, instruments: &[Instrument]) -> Box<dyn Wire> {
    match venue {
        Venue::Binance => Box::new(binance::SeededBinance::new(market, instruments)),
        Venue::Okx => Box::new(okx::SeededOkx::new(instruments)),
        Venue::Bybit => Box::new(bybit::SeededBybit::new(market, instruments)),
    }
}

/// Levels as `[["price","size"],…]`, each followed by `rest` inside its brackets.
fn levels(spec: &Spec, levels: &[Level], rest: &str) -> String {
    let one =
        |level: &Level| format!("[\"{}\",\"{}\"{rest}]", spec.price(level.ticks), spec.size(level.lots));
    format!("[{}]", levels.iter().map(one).collect::<Vec<_>>().join(","))
}
