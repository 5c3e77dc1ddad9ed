//! The session loop against simulated venues over real sockets: what goes wrong is told, and ends in recovery without a restart.

mod books;
mod recovery;
mod rig;
mod subscriptions;
