//! AWS adapters of the ports.
