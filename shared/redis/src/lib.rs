//! Redis adapters of the ports.
