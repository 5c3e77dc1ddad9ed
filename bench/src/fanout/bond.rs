//! Bond's own side of the fan-out benchmark.
//!
//! Its server is `bond-host`, a host of `bond-edge` that obeys [`crate::fanout::host`]: a process that serves one stream without
//! a venue, appends to its log what [`crate::fanout::host::serve_orders`] hands it, and announces as its path
//! `/ws/{stream_id}?token=…`. An event is what the publisher made, `t` and `n` included, in the flat form of a custom event; one
//! to a text frame. Without it the table says that Bond was not measured.

use std::path::PathBuf;

use crate::fanout::server::{Protocol, Subject};
use crate::fanout::tally::Framing;

/// A quiet `/ws/{stream_id}` connection: subscribed by its path, one event to a frame.
const PROTOCOL: Protocol = Protocol { framing: Framing::EventPerFrame, hello: None, replies: 0 };

/// The edge as a subject, served by this executable.
pub fn subject(program: PathBuf, payload_bytes: usize) -> Subject {
    let arguments = vec!["--payload".to_owned(), payload_bytes.to_string()];
    Subject { name: "bond", program, arguments, protocol: PROTOCOL }
}
