//! Windows against an independent computation over big integers, and the order of feeds.

mod capture;
mod exact;
mod order;
mod trades;
