//! `bond sim`: a simulated venue on loopback.
