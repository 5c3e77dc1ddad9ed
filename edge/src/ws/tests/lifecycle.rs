//! How connections end.
