//! bond-edge
