//! bond-core
