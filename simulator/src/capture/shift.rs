//! Moving the times and ids of recorded frames, so that a second round rises above the first.

use std::borrow::Cow;

/// Kinds of number that move together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Time,
    Trade,
    Book,
}

/// Keys by venue: Binance `E T` `t a f l` `U u pu lastUpdateId`, OKX `ts` `tradeId` `seqId prevSeqId`, Bybit `ts cts T` `i` `u seq`.
const KEYS: [(&str, Family); 18] = [
    ("E", Family::Time),
    ("T", Family::Time),
    ("ts", Family::Time),
    ("cts", Family::Time),
    ("t", Family::Trade),
    ("a", Family::Trade),
    ("f", Family::Trade),
    ("l", Family::Trade),
    ("i", Family::Trade),
    ("tradeId", Family::Trade),
    ("U", Family::Book),
    ("u", Family::Book),
    ("pu", Family::Book),
    ("lastUpdateId", Family::Book),
    ("seqId", Family::Book),
    ("prevSeqId", Family::Book),
    ("seq", Family::Book),
    ("cs", Family::Book),
];

/// Under these keys a number in quotes is a price or a quantity.
const BARE_ONLY: [&str; 8] = ["E", "t", "a", "f", "l", "U", "u", "pu"];

/// What is added to each family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shift {
    time: u64,
    trade: u64,
    book: u64,
}

impl Shift {
    /// Milliseconds, trade ids, update ids.
    pub(super) fn new(time: u64, trade: u64, book: u64) -> Self {
        Self { time, trade, book }
    }

    pub(super) fn add(&mut self, other: &Shift) {
        self.time += other.time;
        self.trade += other.trade;
        self.book += other.book;
    }

    /// Update ids alone, from here on.
    pub(super) fn jump(&mut self, by: u64) {
        self.book += by;
    }

    pub(super) fn of(&self, family: Family) -> u64 {
        match family {
            Family::Time => self.time,
            Family::Trade => self.trade,
            Family::Book => self.book,
        }
    }

    /// The frame with its numbers moved.
    pub(super) fn apply<'a>(&self, frame: &'a str) -> Cow<'a, str> {
        if *self == Self::default() {
            return Cow::Borrowed(frame);
        }
        let mut out = String::with_capacity(frame.len() + 16);
        let mut copied = 0;
        for Number { start, end, value, family } in numbers(frame) {
            out.push_str(&frame[copied..start]);
            out.push_str(&(value + self.of(family)).to_string());
            copied = end;
        }
        out.push_str(&frame[copied..]);
        Cow::Owned(out)
    }
}

/// The lowest and highest ids of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) trade: Option<(u64, u64)>,
    pub(super) book: Option<(u64, u64)>,
}

impl Ids {
    pub(super) fn of(frame: &str) -> Self {
        let mut ids = Self::default();
        for number in numbers(frame) {
            match number.family {
                Family::Time => {}
                Family::Trade => widen(&mut ids.trade, (number.value, number.value)),
                Family::Book => widen(&mut ids.book, (number.value, number.value)),
            }
        }
        ids
    }

    /// So that they span another frame's ids too.
    pub(super) fn merge(mut self, other: &Self) -> Self {
        other.trade.into_iter().for_each(|range| widen(&mut self.trade, range));
        other.book.into_iter().for_each(|range| widen(&mut self.book, range));
        self
    }
}

fn widen(range: &mut Option<(u64, u64)>, (low, high): (u64, u64)) {
    let before = range.unwrap_or((low, high));
    *range = Some((before.0.min(low), before.1.max(high)));
}

/// A number that belongs to a key of [`KEYS`], and where its digits are.
struct Number {
    start: usize,
    end: usize,
    value: u64,
    family: Family,
}

/// Numbers under known keys, bare or quoted. Prices and quantities have a decimal point and are passed over, as are `-1` and
/// `"0"`: the first means no predecessor, the second is no id.
fn numbers(frame: &str) -> impl Iterator<Item = Number> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(colon) = frame[from..].find("\":").map(|at| from + at) {
            from = colon + 2;
            if let Some(number) = number_at(frame, colon) {
                return Some(number);
            }
        }
        None
    })
}

fn number_at(frame: &str, colon: usize) -> Option<Number> {
    let key = &frame[frame[..colon].rfind('"')? + 1..colon];
    let (_, family) = KEYS.iter().find(|(known, _)| *known == key)?;
    let quoted = frame[colon + 2..].starts_with('"');
    if quoted && BARE_ONLY.contains(&key) {
        return None;
    }
    let start = colon + 2 + usize::from(quoted);
    let length = frame[start..].find(|c: char| !c.is_ascii_digit())?;
    let end = start + length;
    let next = frame.as_bytes()[end];
    let whole = if quoted { next == b'"' } else { next == b',' || next == b'}' };
    let value: u64 = frame[start..end].parse().ok().filter(|value| whole && *value > 0)?;
    Some(Number { start, end, value, family: *family })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_times_move_and_prices_stay() {
        let shift = Shift::new(1_000, 10, 100);
        let trade = r#"{"e":"trade","E":5000,"s":"BTCUSDT","t":7,"p":"61837.63","q":"2","T":4999,"m":true}"#;
        assert_eq!(
            shift.apply(trade),
            r#"{"e":"trade","E":6000,"s":"BTCUSDT","t":17,"p":"61837.63","q":"2","T":5999,"m":true}"#
        );
        let depth = r#"{"e":"depthUpdate","U":1,"u":2,"pu":9,"b":[["1","2"]],"a":[["3","4"]]}"#;
        assert_eq!(
            shift.apply(depth),
            r#"{"e":"depthUpdate","U":101,"u":102,"pu":109,"b":[["1","2"]],"a":[["3","4"]]}"#
        );
        let okx = r#"{"data":[{"ts":"5000","seqId":4,"prevSeqId":-1,"px":"61837.6"}]}"#;
        assert_eq!(shift.apply(okx), r#"{"data":[{"ts":"6000","seqId":104,"prevSeqId":-1,"px":"61837.6"}]}"#);
    }

    #[test]
    fn a_quote_whose_price_is_whole_keeps_it() {
        let quote = r#"{"u":5,"s":"BTCUSDT","b":"61837.6","B":"3","a":"61838","A":"1"}"#;
        let moved = Shift::new(0, 10, 0).apply(quote).into_owned();
        assert_eq!(moved, quote);
    }
}
