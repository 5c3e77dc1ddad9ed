//! The JSON of what a log holds, as clients see it.

use bond_core::log::{Entry, EventKind, Kept};
use bond_core::position::Epoch;

/// A flat event with its position.
pub(crate) fn event_json(topic: &str, epoch: &Epoch, entry: &Entry, body: &[u8]) -> Vec<u8> {
    let record = &entry.record;
    let mut out = Vec::with_capacity(body.len() + 192);
    let mut number = itoa::Buffer::new();
    let seq = number.format(entry.seq).as_bytes();
    for part in [&b"{\"type\":\""[..], record.kind.name().as_bytes(), b"\","] {
        out.extend_from_slice(part);
    }
    write_origin(topic, epoch, &mut out);
    out.extend_from_slice(b",\"seq\":");
    out.extend_from_slice(seq);
    if record.kind != EventKind::Aggregate {
        out.extend_from_slice(b",\"seq_internal\":");
        out.extend_from_slice(seq);
    }
    out.extend_from_slice(b",\"ts\":\"");
    record.ts.write_rfc3339(&mut out);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(body);
    out.push(b'}');
    out
}

/// A status in its place between the numbers.
pub(crate) fn status_json(topic: &str, epoch: &Epoch, kept: &Kept) -> Vec<u8> {
    let mut out = Vec::with_capacity(kept.body.len() + 128);
    out.extend_from_slice(b"{\"type\":\"status\",");
    write_origin(topic, epoch, &mut out);
    out.extend_from_slice(b",\"after_seq\":");
    out.extend_from_slice(itoa::Buffer::new().format(kept.after_seq).as_bytes());
    out.push(b',');
    out.extend_from_slice(&kept.body);
    out.push(b'}');
    out
}

/// `topic` and `epoch` are names that need no escapes.
fn write_origin(topic: &str, epoch: &Epoch, out: &mut Vec<u8>) {
    for part in [&b"\"topic\":\""[..], topic.as_bytes(), b"\",\"epoch\":\"", epoch.as_str().as_bytes(), b"\""]
    {
        out.extend_from_slice(part);
    }
}
