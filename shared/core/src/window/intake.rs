//! What of an event counts for a subject, by the channels it has.

use std::collections::BTreeSet;

use super::quotes::mid;
use super::subject::{Happening, SymbolWindows};
use super::tally::{Figures, Input};
use super::{Moment, Outcome};
use crate::decimal::Price;
use crate::event::{Channel, Funding, MarketData, Ticker, Trade};
use crate::instrument::Venue;

/// The channels of a subject, as asked for at every event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    trades: bool,
    ticker: bool,
    order_book: bool,
    pub(super) funding: bool,
    liquidations: bool,
}

impl Channels {
    pub(super) fn new(channels: &BTreeSet<Channel>) -> Self {
        let has = |channel| channels.contains(&channel);
        Self {
            trades: has(Channel::Trades),
            ticker: has(Channel::Ticker),
            order_book: has(Channel::OrderBook),
            funding: has(Channel::Funding),
            liquidations: has(Channel::Liquidations),
        }
    }

    /// Whether any of them tells a price.
    pub(super) const fn have_a_price(self) -> bool {
        self.trades || self.ticker || self.order_book
    }
}

impl SymbolWindows {
    /// Counts what a venue sent. Order books do not count: their tops do.
    pub(super) fn push_market(&mut self, venue: Venue, data: &MarketData, moment: Moment) -> Outcome {
        match data {
            MarketData::Trade(trade) if self.channels.trades => self.push_trade(venue, trade, moment),
            MarketData::Ticker(ticker) if self.channels.ticker => self.push_ticker(venue, ticker, moment),
            MarketData::Funding(funding) if self.channels.funding => {
                self.push_funding(venue, funding, moment)
            }
            MarketData::Liquidation(_) if self.channels.liquidations => {
                self.count(Happening::Liquidation(venue), moment)
            }
            _ => Outcome::Ignored,
        }
    }

    /// Counts the top of a venue's order book if it is a new one, unless tickers tell the best bid and ask.
    pub(super) fn push_top(
        &mut self,
        venue: Venue,
        bid: Option<Price>,
        ask: Option<Price>,
        moment: Moment,
    ) -> Outcome {
        if !self.channels.order_book || self.channels.ticker {
            return Outcome::Ignored;
        }
        if !self.quotes.is_new_top(venue, bid, ask) {
            return Outcome::Ignored;
        }
        let price = if self.channels.trades { None } else { bid.zip(ask).and_then(mid) };
        let (no_bid, no_ask) = (bid.is_none(), ask.is_none());
        self.count_figures(venue, Figures { price, bid, ask, no_bid, no_ask, ..Figures::default() }, moment)
    }

    fn push_trade(&mut self, venue: Venue, trade: &Trade, moment: Moment) -> Outcome {
        let input = Input::Trade { price: trade.price, size: trade.size };
        self.count(Happening::Market(venue, &input), moment)
    }

    fn push_ticker(&mut self, venue: Venue, ticker: &Ticker, moment: Moment) -> Outcome {
        let Channels { trades, funding, .. } = self.channels;
        let figures = Figures {
            price: if trades { None } else { self.quotes.price(venue, ticker) },
            bid: ticker.bid,
            ask: ticker.ask,
            mark: ticker.mark.filter(|_| funding),
            index: ticker.index.filter(|_| funding),
            no_bid: ticker.no_bid,
            no_ask: ticker.no_ask,
            funding_rate: None,
        };
        self.count_figures(venue, figures, moment)
    }

    fn push_funding(&mut self, venue: Venue, funding: &Funding, moment: Moment) -> Outcome {
        let (funding_rate, mark, index) = (funding.rate, funding.mark, funding.index);
        self.count_figures(venue, Figures { funding_rate, mark, index, ..Figures::default() }, moment)
    }

    fn count_figures(&mut self, venue: Venue, figures: Figures, moment: Moment) -> Outcome {
        if figures.is_empty() {
            return Outcome::Ignored;
        }
        self.count(Happening::Market(venue, &Input::Figures(figures)), moment)
    }
}
