//! `bond normalize`: a venue's frames in, normalised events out.

use std::io::{BufWriter, stdin, stdout};

use bond_core::clock::SystemClock;
use bond_core::instrument::{MarketType, Venue};
use bond_ingest::normalize::{Counts, NormalizeError, normalize};

use crate::cli::{Market, NormalizeArgs};
use crate::failure::{Exit, Failure, Outcome};

/// Reads standard input to its end. Counts go to standard error.
///
/// # Errors
/// Where the venue or the list of instruments cannot be used. Frames that are not understood are counted, and no error.
pub fn run(args: &NormalizeArgs) -> Outcome {
    let not_understood = |error: String| Failure::new(Exit::NotUnderstood, error);
    let venue: Venue = args.venue.parse().map_err(|error| not_understood(format!("{error}")))?;
    let instruments = args.instruments.as_ref().map(std::fs::read).transpose()?;
    let market = (venue, args.market.into());
    let output = BufWriter::new(stdout().lock());
    match normalize(market, instruments.as_deref(), &SystemClock, stdin().lock(), output) {
        Ok(counts) => report(&counts),
        Err(NormalizeError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Err(NormalizeError::Io(error)) => return Err(error.into()),
        Err(error) => return Err(not_understood(error.to_string())),
    }
    Ok(())
}

fn report(counts: &Counts) {
    eprintln!("frames {}", counts.frames);
    counts.events.iter().for_each(|(kind, count)| eprintln!("event {kind} {count}"));
    counts.other.iter().for_each(|(kind, count)| eprintln!("other {kind} {count}"));
    counts.rejects.iter().for_each(|(reason, count)| eprintln!("reject {count} {reason}"));
}

impl From<Market> for MarketType {
    fn from(market: Market) -> Self {
        match market {
            Market::Spot => Self::Spot,
            Market::Perpetual => Self::Perpetual,
        }
    }
}
