//! A client's socket: its write queue, what the client may send, and how long it may be silent. The rules are those of `ws`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use bond_core::code::CloseCode;
use bond_core::time::UnixNanos;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::End;
use crate::delivery::frame;
use crate::ws::budget::{Budget, Refusing};
use crate::ws::frame_decoder::{FrameDecoder, Inbound, ReceivedFrame, Violation};
use crate::ws::{Limits, MISSED_PONGS, UNFINISHED, UNHEARD};

/// The most bytes that one reading takes.
const READ_BYTES: usize = 8 * 1024;

/// The most frames that one write takes.
const WRITE_SLICES: usize = 64;

/// How long a client may take to receive its close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How many bytes of a client are still read after the close frame. If bytes were left unread, the connection would be reset, and the close
/// frame could be lost.
const REST_BYTES: u64 = 256 * 1024;

const TOO_FAST: End =
    End::Told(CloseCode::PolicyViolation, "RATE_LIMIT_EXCEEDED: 200 frames and 256 KiB a second are taken");
const SILENT: End = End::Told(CloseCode::Idle, "no pong came: connect again with a from");
const BEGUN: End = End::Told(CloseCode::PolicyViolation, UNFINISHED);
const TOO_SLOW: End = End::Told(
    CloseCode::SlowConsumer,
    "nothing was taken for too long: read faster, and connect again with a from",
);

/// The socket of one client.
pub(super) struct Socket {
    socket: TcpStream,
    /// Frames that are not sent yet, in order. The first may be sent in part.
    waiting: VecDeque<Bytes>,
    /// Whether the first frame is sent in part.
    is_begun: bool,
    /// The number of bytes in `waiting` that answer the client's frames.
    answers: usize,
    inbox: FrameDecoder,
    budget: Budget,
    opened_at: Instant,
    /// When the client last showed a sign of life.
    last_seen: Instant,
    /// The number of pings since then.
    pings: u32,
    /// Since when the client takes no bytes.
    blocked_since: Option<Instant>,
}

impl Socket {
    pub(super) fn new(socket: TcpStream, now: Instant) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
            is_begun: false,
            answers: 0,
            inbox: FrameDecoder::default(),
            budget: Budget::default(),
            opened_at: now,
            last_seen: now,
            pings: 0,
            blocked_since: None,
        }
    }

    /// Queues frames.
    pub(super) fn queue(&mut self, frames: Vec<Bytes>) {
        self.waiting.extend(frames);
    }

    /// Whether all queued frames are sent.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Waits until something can be read or written, and does so.
    pub(super) async fn turn(&mut self) -> Result<(), End> {
        // A client that does not take its answers is not read any more.
        let is_read = self.answers <= UNHEARD;
        tokio::select! {
            readable = self.socket.readable(), if is_read => readable.map_err(|_| End::Gone)?,
            writable = self.socket.writable(), if !self.waiting.is_empty() => writable.map_err(|_| End::Gone)?,
        }
        let now = Instant::now();
        self.write(now)?;
        if is_read { self.read(now) } else { Ok(()) }
    }

    /// Writes queued frames, as far as the client takes them.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), End> {
        while !self.waiting.is_empty() {
            match self.write_once() {
                Ok(written) => self.note(written, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert(now);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Gone),
            }
        }
        self.answers = 0;
        Ok(())
    }

    fn write_once(&self) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        for (slice, frame) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(frame);
        }
        self.socket.try_write_vectored(&slices[..self.waiting.len().min(WRITE_SLICES)])
    }

    /// Removes what was written from the queue.
    fn note(&mut self, mut written: usize, now: Instant) {
        if self.blocked_since.take().is_some() {
            // Something was written, so the client has taken bytes and is alive.
            self.mark_alive(now);
        }
        while let Some(frame) = self.waiting.front_mut() {
            if written < frame.len() {
                self.is_begun |= written > 0;
                return frame.advance(written);
            }
            written -= frame.len();
            self.is_begun = false;
            self.waiting.pop_front();
        }
    }

    fn read(&mut self, now: Instant) -> Result<(), End> {
        let mut bytes = [0; READ_BYTES];
        match self.socket.try_read(&mut bytes) {
            Ok(0) => Err(End::Gone),
            Ok(count) => self.take(&bytes[..count], now),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(End::Gone),
        }
    }

    /// Handles bytes from the client.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) -> Result<(), End> {
        self.mark_alive(now);
        self.inbox.feed(bytes, now);
        let end = |Violation { code, reason }| End::Told(code, reason);
        while let Some(taken) = self.inbox.next(now).map_err(end)? {
            self.on_frame(taken, now)?;
        }
        Ok(())
    }

    fn mark_alive(&mut self, now: Instant) {
        (self.last_seen, self.pings) = (now, 0);
    }

    /// Handles a frame from the client. Its content is ignored, but frames are counted against the client's rate.
    fn on_frame(&mut self, ReceivedFrame { bytes, inbound }: ReceivedFrame, now: Instant) -> Result<(), End> {
        let moment = UnixNanos::EPOCH.plus(now.duration_since(self.opened_at));
        let is_admitted = self.budget.admit_frame(bytes, moment);
        match inbound {
            Some(Inbound::Close) => Err(End::Told(CloseCode::Normal, "")),
            _ if !is_admitted => self.refuse(),
            Some(Inbound::Ping(payload)) => {
                self.answer(|out| frame::pong(&payload, out));
                Ok(())
            }
            Some(Inbound::Text(_) | Inbound::Deflated(_) | Inbound::Pong) | None => Ok(()),
        }
    }

    fn refuse(&mut self) -> Result<(), End> {
        match self.budget.refuse() {
            Refusing::Dismissed => Err(TOO_FAST),
            Refusing::Told | Refusing::Untold => Ok(()),
        }
    }

    fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut answer = Vec::new();
        write(&mut answer);
        self.answers += answer.len();
        self.waiting.push_back(answer.into());
    }

    /// When the client's deadlines must be checked next.
    pub(super) fn due(&self, limits: &Limits) -> Instant {
        let stalled = self.blocked_since.map(|since| since + limits.stall);
        let unfinished = self.inbox.begun().map(|begun| begun + limits.unfinished);
        let silent = self.last_seen + limits.silence * (self.pings + 1);
        [stalled, unfinished].into_iter().flatten().fold(silent, Instant::min)
    }

    /// Ends a client that has missed a deadline, and pings one that is silent.
    pub(super) fn look_after(&mut self, limits: &Limits, now: Instant) -> Result<(), End> {
        let is_past = |since: Option<Instant>, limit| since.is_some_and(|since| now >= since + limit);
        if is_past(self.blocked_since, limits.stall) {
            return Err(TOO_SLOW);
        }
        if is_past(self.inbox.begun(), limits.unfinished) {
            return Err(BEGUN);
        }
        if is_past(Some(self.last_seen), limits.silence * (self.pings + 1)) {
            if self.pings >= MISSED_PONGS {
                return Err(SILENT);
            }
            self.pings += 1;
            self.answer(frame::ping);
        }
        self.write(now)
    }

    /// Sends a close frame after the frame that is sent in part, and waits a short while for the client to receive it.
    pub(super) async fn close(mut self, code: CloseCode, reason: &str) {
        let begun = self.waiting.pop_front().filter(|_| self.is_begun).unwrap_or_default();
        let mut last = begun.to_vec();
        frame::close(code, reason, &mut last);
        let socket = &mut self.socket;
        let goodbye = async {
            socket.write_all(&last).await?;
            socket.shutdown().await?;
            tokio::io::copy(&mut socket.take(REST_BYTES), &mut tokio::io::sink()).await
        };
        if timeout(CLOSE_PATIENCE, goodbye).await.is_err() {
            // Make the kernel drop what the client did not take, instead of keeping it for minutes. This fails if the socket is closed already.
            let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
    }
}
