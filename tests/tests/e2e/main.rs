//! Black-box tests of a whole `bond`: real processes, real sockets, simulated venues.

mod faults;
mod first_stream;
mod layering;
mod to_the_digit;
