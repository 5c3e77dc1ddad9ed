//! Bond's decoder of a venue's frames, as its session loop calls it.

use std::hint::black_box;

use bond_core::time::UnixNanos;
use bond_ingest::venue::{Decoded, Protocol, Reject};

use super::Decoder;
use crate::capture::Frame;
use crate::clock;

/// A venue's protocol with the buffers that its session reuses from frame to frame.
pub struct BondDecoder {
    protocol: Box<dyn Protocol>,
    out: Vec<Decoded>,
    rejects: Vec<Reject>,
}

impl BondDecoder {
    /// Around the protocol of one connection, which must know the instruments of the frames.
    pub fn new(protocol: Box<dyn Protocol>) -> Self {
        Self { protocol, out: Vec::new(), rejects: Vec::new() }
    }
}

impl Decoder for BondDecoder {
    fn name(&self) -> &'static str {
        "bond"
    }

    /// The receive time is read for each frame, as in the session.
    fn decode(&mut self, frame: &Frame) -> usize {
        self.out.clear();
        self.rejects.clear();
        let received = UnixNanos::from_nanos(clock::unix_nanos() as i64);
        self.protocol.decode(&frame.combined, received, &mut self.out, &mut self.rejects);
        black_box(&self.out).iter().filter(|decoded| matches!(decoded, Decoded::Event(_))).count()
    }
}
