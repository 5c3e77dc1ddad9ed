//! `bond cost`: what a month on AWS costs.

use crate::cli::CostArgs;
use crate::cost::{self, Load};

/// Prints the estimate.
pub fn run(args: &CostArgs) {
    let load = Load {
        connections: f64::from(args.connections),
        rate: args.rate,
        batch: f64::from(args.batch),
        event_bytes: f64::from(args.event_bytes),
    };
    print!("{}", cost::report(&load));
}
