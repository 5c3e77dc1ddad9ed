//! The price of a symbol where a stream has no trades.

use rust_decimal::Decimal;

use crate::decimal::Price;
use crate::event::Ticker;
use crate::instrument::Venue;

/// What is needed of each venue to tell a price where there are no trades.
#[derive(Clone, Debug, Default)]
pub(super) struct VenueQuotes(Vec<(Venue, Quote)>);

#[derive(Clone, Copy, Debug, Default)]
struct Quote {
    bid: Option<Price>,
    ask: Option<Price>,
    has_last: bool,
}

impl VenueQuotes {
    /// The price in an update of a venue's ticker: its `last`; for a venue that never gives one, the mid of its best bid and ask.
    pub(super) fn price(&mut self, venue: Venue, update: &Ticker) -> Option<Price> {
        let quote = self.of(venue);
        quote.bid = update.bid.or(quote.bid.filter(|_| !update.no_bid));
        quote.ask = update.ask.or(quote.ask.filter(|_| !update.no_ask));
        quote.has_last |= update.last.is_some();
        if quote.has_last || !update.is_quote() {
            return update.last;
        }
        quote.bid.zip(quote.ask).and_then(mid)
    }

    /// Takes the top of a venue's order book: whether its best bid or ask is another one now.
    pub(super) fn is_new_top(&mut self, venue: Venue, bid: Option<Price>, ask: Option<Price>) -> bool {
        let quote = self.of(venue);
        let changed = (quote.bid, quote.ask) != (bid, ask);
        (quote.bid, quote.ask) = (bid, ask);
        changed
    }

    fn of(&mut self, venue: Venue) -> &mut Quote {
        let at = self.0.iter().position(|(known, _)| *known == venue).unwrap_or_else(|| {
            self.0.push((venue, Quote::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

/// The exact middle of two prices; `None` where it has more digits than a price may.
pub(super) fn mid((bid, ask): (Price, Price)) -> Option<Price> {
    let (bid, ask) = (bid.get(), ask.get());
    let scale = bid.scale().max(ask.scale());
    let at_scale = |price: Decimal| price.mantissa().checked_mul(10_i128.pow(scale - price.scale()));
    let sum = at_scale(bid)?.checked_add(at_scale(ask)?)?;
    let half = Decimal::try_from_i128_with_scale(sum.checked_mul(5)?, scale + 1).ok()?;
    Price::new(half).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        Price::parse(text).expect("price")
    }

    #[test]
    fn the_middle_is_exact() {
        assert_eq!(mid((price("61837.63"), price("61837.64"))), Some(price("61837.635")));
        assert_eq!(mid((price("1"), price("3"))), Some(price("2")));
        assert_eq!(mid((price("-0.1"), price("0.000001"))), Some(price("-0.0499995")));
        assert_eq!(mid((price("0.000000000000000001"), price("0.000000000000000002"))), None);
    }

    #[test]
    fn a_ticker_is_priced_by_its_last_or_else_by_its_middle() {
        let update = |bid: Option<&str>, ask: Option<&str>, last: Option<&str>| Ticker {
            bid: bid.map(price),
            ask: ask.map(price),
            last: last.map(price),
            ..Ticker::default()
        };
        let mut quotes = VenueQuotes::default();
        assert_eq!(quotes.price(Venue::Okx, &update(Some("1"), None, None)), None);
        assert_eq!(quotes.price(Venue::Okx, &update(None, Some("3"), None)), Some(price("2")));
        assert_eq!(quotes.price(Venue::Okx, &Ticker::default()), None, "nothing new");
        assert_eq!(quotes.price(Venue::Okx, &update(Some("1"), None, Some("4"))), Some(price("4")));
        assert_eq!(quotes.price(Venue::Okx, &update(Some("2"), None, None)), None, "it gives a last price");
        assert_eq!(quotes.price(Venue::Bybit, &update(Some("1"), Some("2"), None)), Some(price("1.5")));
        let gone = Ticker { no_ask: true, ..Ticker::default() };
        assert_eq!(quotes.price(Venue::Bybit, &gone), None, "there is no middle without an ask");
        assert_eq!(quotes.price(Venue::Bybit, &update(Some("1.2"), None, None)), None);
    }
}
