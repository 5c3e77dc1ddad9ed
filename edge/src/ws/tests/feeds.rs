//! Feeds: many topics by a filter.
