//! bond-ingest
