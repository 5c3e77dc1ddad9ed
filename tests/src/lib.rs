//! bond-e2e
