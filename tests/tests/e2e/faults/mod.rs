//! What clients see of venues that misbehave.

mod absent;
mod aggregates;
mod audit;
mod cases;
mod silence;
mod watch;
mod world;
