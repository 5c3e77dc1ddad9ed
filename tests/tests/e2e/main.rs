//! Black-box tests of a whole `bond`: real processes, real sockets, simulated venues.

mod access;
mod broker;
mod cloud_faults;
mod faults;
mod feed;
mod first_stream;
mod hostile;
mod hosts;
mod layering;
mod lifecycle;
mod listen;
mod names;
mod redis;
mod replay;
mod secrets;
mod slow_clients;
mod streams;
mod supervision;
mod takeover;
mod to_the_digit;
mod topic_tokens;
mod topics;
mod topics_publish;
mod topics_redis;
mod topics_watched;
