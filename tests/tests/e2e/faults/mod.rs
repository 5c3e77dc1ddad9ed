//! What clients see of venues that misbehave.

mod audit;
mod cases;
mod watch;
mod world;
