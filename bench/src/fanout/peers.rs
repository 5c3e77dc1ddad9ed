//! The peers of the fan-out benchmark.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::fanout::server::{Protocol, Subject};
use crate::fanout::tally::Framing;

/// Connect and subscribe in one message; the server answers each command.
const CENTRIFUGE: Protocol = Protocol {
    framing: Framing::Lines,
    hello: Some("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench\"}}"),
    replies: 2,
};

const PLAIN: Protocol = Protocol { framing: Framing::EventPerFrame, hello: None, replies: 0 };

/// Settings under which centrifuge delivered most events here: writes collected for 25 ms into frames of any number
/// of messages, and a lazier garbage collector. Longer delays gave no more, and hold every event up.
const CENTRIFUGE_TUNED: [&str; 3] = ["--write-delay=25ms", "--max-in-frame=-1", "--gc-percent=400"];

/// A server on the Go library centrifuge with the library's defaults, which favour low latency.
pub fn centrifuge(program: &Path, payload_bytes: usize) -> Subject {
    Subject {
        name: "centrifuge (defaults)",
        program: program.to_owned(),
        arguments: payload(payload_bytes),
        protocol: CENTRIFUGE,
    }
}

/// The same server tuned for throughput.
pub fn centrifuge_tuned(program: &Path, payload_bytes: usize) -> Subject {
    let tuning = CENTRIFUGE_TUNED.map(str::to_owned).to_vec();
    let arguments = [payload(payload_bytes), tuning].concat();
    Subject { name: "centrifuge (tuned)", arguments, ..centrifuge(program, payload_bytes) }
}

/// axum's own WebSocket over a broadcast channel; its executable is built beside this one.
pub fn axum_broadcast(payload_bytes: usize) -> Result<Subject> {
    Ok(Subject {
        name: "axum broadcast",
        program: beside_this_executable("axum-broadcast")?,
        arguments: payload(payload_bytes),
        protocol: PLAIN,
    })
}

fn payload(bytes: usize) -> Vec<String> {
    vec!["--payload".to_owned(), bytes.to_string()]
}

fn beside_this_executable(name: &str) -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    Ok(executable.parent().unwrap_or(Path::new(".")).join(name))
}
