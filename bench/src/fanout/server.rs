//! A server under test: a process of its own, told what to publish over its standard input (see [`crate::fanout::host`]).

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::fanout::host::Order;
use crate::fanout::tally::Framing;
use crate::process;
use crate::upgrade::Endpoint;

/// How to start a server and how a client subscribes at it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name in the tables.
    pub name: &'static str,
    /// Executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How the client speaks to it.
    pub protocol: Protocol,
}

/// What a client says and hears at a server.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How events come in frames.
    pub framing: Framing,
    /// Text message that subscribes, where the path does not.
    pub hello: Option<&'static str>,
    /// Messages by which the server answers it.
    pub replies: u64,
}

/// A running server; ends with this value.
pub struct Server {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    /// Where it listens.
    pub endpoint: Endpoint,
}

impl Server {
    /// Starts the process and waits until it accepts connections.
    pub fn start(subject: &Subject) -> Result<Self> {
        let mut child = Command::new(&subject.program)
            .args(&subject.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", subject.program.display()))?;
        let orders = child.stdin.take();
        let answers = answers(&mut child)?;
        let endpoint =
            parse_ready(&answers.recv_timeout(Duration::from_secs(10)).context("server did not get ready")?)?;
        Ok(Self { child, orders, answers, endpoint })
    }

    /// Orders events; [`Server::published`] tells when they are out.
    pub fn publish(&mut self, order: Order) -> Result<()> {
        self.order(&format!("publish {} {}", order.rate, order.count))
    }

    /// How many events the last order put out, once it is done.
    pub fn published(&mut self) -> Option<u64> {
        self.answers.try_recv().ok()?.strip_prefix("published ")?.parse().ok()
    }

    /// Resident bytes after the runtime gave back what it can.
    pub fn settled_memory(&mut self) -> Result<u64> {
        self.order("settle")?;
        self.wait_for("settled")?;
        process::resident_bytes(self.child.id())
    }

    /// Processor seconds used so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        process::cpu_seconds(self.child.id())
    }

    fn order(&mut self, line: &str) -> Result<()> {
        let orders = self.orders.as_mut().context("server takes no orders")?;
        Ok(writeln!(orders, "{line}")?)
    }

    fn wait_for(&self, answer: &str) -> Result<()> {
        loop {
            match self.answers.recv_timeout(Duration::from_secs(10)) {
                Ok(line) if line == answer => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("server did not answer {answer}"),
                Err(RecvTimeoutError::Disconnected) => bail!("server ended"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders.take();
        // Already gone is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of the server's output; the bound only matters to a server that talks unasked.
fn answers(child: &mut Child) -> Result<Receiver<String>> {
    let output = child.stdout.take().context("server has no output")?;
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        for line in lines {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn parse_ready(line: &str) -> Result<Endpoint> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["ready", address, path] => {
            Ok(Endpoint { address: address.parse()?, path: path.to_owned(), offers_deflate: false })
        }
        _ => bail!("server said instead of ready: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_names_address_and_path() {
        let endpoint = parse_ready("ready 127.0.0.1:9000 /ws/abc?token=x").expect("valid");
        assert_eq!((endpoint.address.port(), endpoint.path.as_str()), (9000, "/ws/abc?token=x"));
        assert!(parse_ready("listening").is_err());
    }
}
