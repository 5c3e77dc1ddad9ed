//! How fast a client's frames are taken.
//!
//! AWS limits routes, and says nothing of frames that reach none: pings, fragments, bytes. A simulator that took them as fast as they come would
//! serve one client alone. A client beyond this pace is not closed; the rest of what it sends waits in its socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What a frame costs: 200 a second are taken.
const FRAME: Duration = Duration::from_millis(5);
/// What a byte costs: 1 MiB a second is taken.
const BYTE: Duration = Duration::from_nanos(954);
/// How much may be owed: a burst of 400 frames, or of 2 MiB.
const SAVED: Duration = Duration::from_secs(2);
/// The most bytes that are taken at once: what is in them is counted when they are here.
const PART: usize = 4096;
/// The longest header of a frame: two bytes, eight for the length, four for the mask (RFC 6455, 5.2).
const HEADER: usize = 14;

/// A client's socket, read at a pace.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    socket: S,
    frames: Frames,
    /// When all that was taken is paid off.
    free_at: Instant,
    pause: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(crate) fn new(socket: S) -> Self {
        let now = Instant::now();
        Self { socket, frames: Frames::default(), free_at: now, pause: Box::pin(sleep_until(now)) }
    }

    /// Charges for what has come.
    fn charge(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let cost = BYTE * length + FRAME * self.frames.begun_in(bytes);
        self.free_at = self.free_at.max(Instant::now()) + cost;
        if let Some(resumed_at) = self.free_at.checked_sub(SAVED) {
            self.pause.as_mut().reset(resumed_at);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.pause.as_mut().poll(context));
        let mut part = [0; PART];
        let most = into.remaining().min(PART);
        let mut part = ReadBuf::new(&mut part[..most]);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut part))?;
        self.charge(part.filled());
        into.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Where in its frames a client's bytes are.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER],
    /// How much of a header has come.
    known: usize,
    /// How much of a payload is still to come.
    rest: u64,
}

impl Frames {
    /// How many frames begin in these bytes, which follow those before.
    fn begun_in(&mut self, mut bytes: &[u8]) -> u32 {
        let mut begun = 0;
        while let Some((first, behind)) = bytes.split_first() {
            if self.rest > 0 {
                let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                self.rest -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            begun += u32::from(self.known == 0);
            self.header[self.known] = *first;
            self.known += 1;
            bytes = behind;
            if self.known == self.header_length() {
                (self.rest, self.known) = (self.payload_length(), 0);
            }
        }
        begun
    }

    fn header_length(&self) -> usize {
        if self.known < 2 {
            return HEADER;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn payload_length(&self) -> u64 {
        let long = |bytes: &[u8]| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            126 => long(&self.header[2..4]),
            127 => long(&self.header[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = match length {
            0..126 => vec![0x81, 0x80 | length as u8],
            126..65_536 => [&[0x81, 0xFE][..], &(length as u16).to_be_bytes()].concat(),
            _ => [&[0x81, 0xFF][..], &(length as u64).to_be_bytes()].concat(),
        };
        frame.extend(vec![0; 4 + length]);
        frame
    }

    #[test]
    fn frames_are_counted_however_they_come() {
        let bytes: Vec<u8> = [0, 1, 125, 126, 65_535, 65_536, 0].into_iter().flat_map(frame).collect();
        for size in [1, 2, 7, 4096, bytes.len()] {
            let mut frames = Frames::default();
            let begun: u32 = bytes.chunks(size).map(|part| frames.begun_in(part)).sum();
            assert_eq!((begun, frames.known, frames.rest), (7, 0, 0), "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_taken_at_once_and_the_rest_at_its_pace() {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let begun = Instant::now();
        server.write_all(&frame(0).repeat(1_400)).await.unwrap();
        drop(server);
        let mut taken = Vec::new();
        Paced::new(client).read_to_end(&mut taken).await.unwrap();
        // Counted by parts of 4 KiB; the last may be taken before it is paid off.
        let seconds = begun.elapsed().as_secs_f64();
        assert!((1.5..=5.1).contains(&seconds), "{seconds}");
        assert_eq!(taken.len(), 1_400 * 6);
    }
}
