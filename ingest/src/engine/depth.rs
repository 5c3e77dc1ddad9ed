//! An order book as published at one depth: the whole book, and what changed since the last event.

use std::cmp::Ordering;

use bond_core::decimal::Quantity;
use bond_core::event::{BookUpdateKind, Level};
use bond_core::wire::{BookView, Stamp, order_book};
use bytes::Bytes;

/// The book as last published at one depth.
#[derive(Debug)]
pub(super) struct DepthView {
    depth: u16,
    bids: Vec<Level>,
    asks: Vec<Level>,
    sequence: Option<u64>,
}

/// The two forms of one order-book event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) whole: Bytes,
    pub(super) changes: Bytes,
}

impl DepthView {
    pub(super) const fn new(depth: u16) -> Self {
        Self { depth, bids: Vec::new(), asks: Vec::new(), sequence: None }
    }

    /// The depth in levels per side.
    pub(super) const fn depth(&self) -> u16 {
        self.depth
    }

    /// Takes the book's levels, best first and cut to the depth. `None` if no level within the depth has changed since the last event.
    pub(super) fn publish(
        &mut self,
        kind: BookUpdateKind,
        sequence: u64,
        bids: Vec<Level>,
        asks: Vec<Level>,
        stamp: &Stamp<'_>,
    ) -> Option<Published> {
        let starts_over = kind == BookUpdateKind::Snapshot || self.sequence.is_none();
        if !starts_over && bids == self.bids && asks == self.asks {
            return None;
        }
        let prev_sequence = self.sequence.filter(|_| !starts_over);
        let update_type = if starts_over { BookUpdateKind::Snapshot } else { BookUpdateKind::Delta };
        let view = |changes_only, bids, asks| {
            let depth = self.depth.into();
            body(&BookView { update_type, changes_only, depth, sequence, prev_sequence, bids, asks }, stamp)
        };
        let whole = view(false, &bids, &asks);
        let changes = if starts_over {
            whole.clone()
        } else {
            let descending = |a: &Level, b: &Level| b.price.cmp(&a.price);
            let ascending = |a: &Level, b: &Level| a.price.cmp(&b.price);
            view(true, &changed(&self.bids, &bids, descending), &changed(&self.asks, &asks, ascending))
        };
        (self.bids, self.asks, self.sequence) = (bids, asks, Some(sequence));
        Some(Published { whole, changes })
    }

    /// Forgets what was published, so that the next event is a snapshot.
    pub(super) fn restart(&mut self) {
        self.sequence = None;
    }
}

fn body(view: &BookView<'_>, stamp: &Stamp<'_>) -> Bytes {
    let mut out = Vec::with_capacity(160 + 32 * (view.bids.len() + view.asks.len()));
    order_book(stamp, view, &mut out);
    out.into()
}

/// The levels that turn `old` into `new`, which are both in `order`: new and changed levels as they are, and levels that are no longer there
/// with size zero.
fn changed(old: &[Level], new: &[Level], order: impl Fn(&Level, &Level) -> Ordering) -> Vec<Level> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let step = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => order(before, after),
        };
        let before = if step.is_le() { old.next() } else { None };
        let after = if step.is_ge() { new.next() } else { None };
        match (before, after) {
            (Some(before), None) => changes.push(Level { size: Quantity::ZERO, ..*before }),
            (before, Some(after)) if before != Some(after) => changes.push(*after),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bond_core::decimal::Price;

    use super::*;

    fn levels(pairs: &[(&str, &str)]) -> Vec<Level> {
        let level = |(price, size): &(&str, &str)| Level {
            price: Price::parse(price).expect("price"),
            size: Quantity::parse(size).expect("size"),
        };
        pairs.iter().map(level).collect()
    }

    #[test]
    fn changes_turn_the_old_view_into_the_new_one() {
        let old = levels(&[("5", "1"), ("4", "1"), ("3", "1")]);
        let new = levels(&[("5", "1"), ("4.5", "2"), ("4", "7")]);
        let expected = levels(&[("4.5", "2"), ("4", "7"), ("3", "0")]);
        assert_eq!(changed(&old, &new, |a, b| b.price.cmp(&a.price)), expected);
    }

    #[test]
    fn nothing_changed_is_nothing_to_tell() {
        let side = levels(&[("5", "1")]);
        assert_eq!(changed(&side, &side, |a, b| b.price.cmp(&a.price)), []);
    }
}
