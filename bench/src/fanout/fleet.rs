//! The load generator: many WebSocket connections on loopback, read by one thread over epoll.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use crate::fanout::server::Protocol;
use crate::fanout::tally::Tally;
use crate::frame::{self, FrameReader};
use crate::upgrade::{self, Endpoint};

/// One connection in so many has each of its events read; the others are counted.
const SAMPLED_ONE_IN: usize = 64;

/// After the last event was published, this long without data means that nothing more comes.
const QUIET: Duration = Duration::from_millis(500);

/// No measurement lasts longer than this beyond its own length.
const OVERTIME: Duration = Duration::from_secs(15);

/// Ports and descriptors on loopback suffice for this many.
pub const MAX_CONNECTIONS: usize = 19_000;

/// What arrived in one measurement.
#[derive(Debug)]
pub struct Delivery {
    /// Events over all connections.
    pub events: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Events the publisher put out, if it said so in time.
    pub published: Option<u64>,
    /// From the order to the last event.
    pub elapsed: Duration,
    /// Connections the server closed.
    pub closed: usize,
    /// Sampled events that did not follow their predecessor.
    pub out_of_order: u64,
    /// Sampled delivery latencies in nanoseconds, ascending.
    pub latencies: Vec<u64>,
}

/// Open connections to one server.
pub struct Fleet {
    poll: Poll,
    endpoint: Endpoint,
    protocol: Protocol,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl Fleet {
    /// Opens and subscribes `count` connections, one after the other.
    pub fn connect(endpoint: &Endpoint, protocol: Protocol, count: usize) -> Result<Self> {
        ensure!(
            count <= MAX_CONNECTIONS,
            "at most {MAX_CONNECTIONS} connections from one process, not {count}"
        );
        let mut fleet = Self {
            poll: Poll::new()?,
            endpoint: endpoint.clone(),
            protocol,
            connections: Vec::with_capacity(count),
            buffer: vec![0; 256 * 1024],
        };
        for index in 0..count {
            let connection = fleet.open(index).with_context(|| format!("connection {index}"))?;
            fleet.connections.push(connection);
        }
        Ok(fleet)
    }

    /// Replaces connections that the server closed; answers how many there were.
    pub fn reconnect_closed(&mut self) -> Result<usize> {
        let closed: Vec<usize> =
            (0..self.connections.len()).filter(|&i| self.connections[i].tally.closed).collect();
        for &index in &closed {
            self.connections[index] = self.open(index)?;
        }
        Ok(closed.len())
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Forgets what was counted so far.
    pub fn reset(&mut self) {
        self.connections.iter_mut().for_each(|connection| connection.tally.reset());
    }

    /// Reads until all that was published has arrived, nothing more comes, or time is up; `published` answers the
    /// publisher's total once it is known.
    pub fn receive(
        &mut self,
        expected: Duration,
        mut published: impl FnMut() -> Option<u64>,
    ) -> Result<Delivery> {
        let start = Instant::now();
        let (mut total, mut known, mut last_event) = (0, None, start);
        let mut ready = Events::with_capacity(4096);
        loop {
            self.wait(&mut ready)?;
            let arrived = self.read_ready(&ready);
            let now = Instant::now();
            known = known.or_else(&mut published);
            if arrived > 0 {
                (total, last_event) = (total + arrived, now);
            }
            let complete = known.is_some_and(|count| total >= count * self.len() as u64);
            let dry = known.is_some() && now - last_event > QUIET;
            if complete || dry || now - start > expected + OVERTIME {
                return Ok(self.delivery(total, known, last_event - start));
            }
        }
    }

    fn wait(&mut self, ready: &mut Events) -> Result<()> {
        match self.poll.poll(ready, Some(Duration::from_millis(20))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn read_ready(&mut self, ready: &Events) -> u64 {
        let mut arrived = 0;
        for event in ready {
            if let Some(connection) = self.connections.get_mut(event.token().0) {
                arrived += connection.read(&mut self.buffer);
            }
        }
        arrived
    }

    fn delivery(&self, events: u64, published: Option<u64>, elapsed: Duration) -> Delivery {
        let tallies = || self.connections.iter().map(|connection| &connection.tally);
        let samples = || tallies().filter_map(Tally::sample);
        let mut latencies: Vec<u64> = samples().flat_map(|sample| sample.latencies.iter().copied()).collect();
        latencies.sort_unstable();
        Delivery {
            events,
            bytes: tallies().map(|tally| tally.bytes).sum(),
            published,
            elapsed,
            closed: tallies().filter(|tally| tally.closed).count(),
            out_of_order: samples().map(|sample| sample.out_of_order).sum(),
            latencies,
        }
    }

    fn open(&mut self, index: usize) -> Result<Connection> {
        let tally = Tally::new(self.protocol.framing, index.is_multiple_of(SAMPLED_ONE_IN));
        let mut connection = handshake(&self.endpoint, self.protocol, tally)?;
        self.poll.registry().register(&mut connection.stream, Token(index), Interest::READABLE)?;
        Ok(connection)
    }
}

struct Connection {
    stream: TcpStream,
    reader: FrameReader,
    tally: Tally,
}

impl Connection {
    /// Reads what is there and answers the number of events in it.
    fn read(&mut self, buffer: &mut [u8]) -> u64 {
        let before = self.tally.events;
        while self.read_once(buffer) {}
        self.answer_ping();
        self.tally.events - before
    }

    /// Whether more may be waiting: a read that did not fill the buffer has emptied the socket, which spares the call
    /// that would say so.
    fn read_once(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(length) if length > 0 => {
                self.tally.arrive(clock::unix_nanos);
                self.reader.feed(&buffer[..length], &mut self.tally);
                length == buffer.len()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Ok(_) | Err(_) => {
                self.tally.closed = true;
                false
            }
        }
    }

    fn answer_ping(&mut self) {
        if let Some(payload) = self.tally.ping.take() {
            let pong = frame::client_frame(frame::PONG, &payload);
            // Twelve bytes find room in any send buffer; a connection that broke is seen by the next read.
            let _ = self.stream.write(&pong);
        }
    }
}

/// Upgrades and subscribes on a blocking socket, which is then handed to epoll.
fn handshake(endpoint: &Endpoint, protocol: Protocol, mut tally: Tally) -> Result<Connection> {
    let mut stream = std::net::TcpStream::connect(endpoint.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = FrameReader::default();
    reader.feed(&upgrade::upgrade(&mut stream, endpoint)?, &mut tally);
    if let Some(hello) = protocol.hello {
        stream.write_all(&frame::client_frame(frame::TEXT, hello.as_bytes()))?;
    }
    let mut buffer = [0; 4096];
    while tally.events < protocol.replies {
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "server closed instead of answering the subscription");
        reader.feed(&buffer[..length], &mut tally);
    }
    stream.set_nonblocking(true)?;
    Ok(Connection { stream: TcpStream::from_std(stream), reader, tally })
}
