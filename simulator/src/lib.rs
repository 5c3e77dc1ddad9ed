//! bond-sim
