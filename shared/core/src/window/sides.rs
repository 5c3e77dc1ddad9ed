//! The best bid and ask that stand at each venue, so that a side that empties at one leaves those of the others.

use super::tally::{LastKnown, Side, Timestamped};
use crate::instrument::Venue;

/// The latest of each side by venue.
#[derive(Clone, Debug, Default)]
pub(super) struct Sides {
    pub(super) bids: Vec<(Venue, Side)>,
    pub(super) asks: Vec<(Venue, Side)>,
}

impl Sides {
    /// Takes over what a venue told.
    pub(super) fn update(&mut self, venue: Venue, arrived: &LastKnown) {
        put(&mut self.bids, venue, arrived.bid);
        put(&mut self.asks, venue, arrived.ask);
    }

    /// The latest price of a side; that it is empty where it is so at every venue, and `None` where no venue told it.
    pub(super) fn best(side: &[(Venue, Side)]) -> Option<Side> {
        let latest =
            |marks: &mut dyn Iterator<Item = Side>| marks.fold(None, |a, b| Timestamped::later(a, Some(b)));
        let mut priced = side.iter().map(|(_, mark)| *mark).filter(|mark| mark.value.is_some());
        latest(&mut priced).or_else(|| latest(&mut side.iter().map(|(_, mark)| *mark)))
    }
}

fn put(side: &mut Vec<(Venue, Side)>, venue: Venue, arrived: Option<Side>) {
    let Some(arrived) = arrived else { return };
    match side.iter_mut().find(|(known, _)| *known == venue) {
        Some((_, mark)) => *mark = Timestamped::later(Some(*mark), Some(arrived)).unwrap_or(arrived),
        None => side.push((venue, arrived)),
    }
}
