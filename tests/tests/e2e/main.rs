//! Black-box tests of a whole `bond`: real processes, real sockets, simulated venues.

mod access;
mod broker;
mod faults;
mod feed;
mod first_stream;
mod hosts;
mod layering;
mod lifecycle;
mod replay;
mod slow_clients;
mod streams;
mod to_the_digit;
