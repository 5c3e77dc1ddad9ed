//! Items as fields of a stream's entries.
//!
//! `a` is the time of append, 19 digits; `h` the header of an event, `{kind} {ts} {order}` in Unix nanoseconds, missing in a status; `b` the
//! body; `c` the changes, if there are any.

use bond_core::log::{Entry, EventKind, Item, Kept, Record};
use bond_core::time::UnixNanos;
use bytes::Bytes;
use fred::types::Value;

/// A time as text that sorts like the time. Times before 1970 all become the same text.
pub(super) fn stamp(time: UnixNanos) -> String {
    format!("{:019}", time.as_nanos().max(0))
}

/// The three arguments of the append script for an event.
pub(super) fn event_args(record: &Record) -> [Value; 3] {
    let Record { kind, ts, order, body, changes } = record;
    let header = format!("{} {} {}", kind.name(), ts.as_nanos(), order.as_nanos());
    [header.into(), Value::Bytes(body.clone()), Value::Bytes(changes.clone().unwrap_or_default())]
}

/// The three arguments of the append script for a status.
pub(super) fn status_args(body: Bytes) -> [Value; 3] {
    [Value::from_static_str(""), Value::Bytes(body), Value::from_static_str("")]
}

/// The item in an entry; `None` if Bond cannot have written the entry.
pub(super) fn item(entry: Value) -> Option<Item> {
    let Value::Array(parts) = entry else { return None };
    let mut parts = parts.into_iter();
    let (seq, _) = id(&parts.next()?)?;
    let Value::Array(fields) = parts.next()? else { return None };
    let Fields { at, header, body, changes } = Fields::of(fields)?;
    let Some(header) = header else { return Some(Item::Status(Kept { after_seq: seq, at, body })) };
    let (kind, ts, order) = read_header(&header)?;
    Some(Item::Event(Entry { seq, at, record: Record { kind, ts, order, body, changes } }))
}

/// The two parts of an entry's id.
pub(super) fn id(value: &Value) -> Option<(u64, u64)> {
    let (seq, n) = value.as_str()?.split_once('-').map(|(seq, n)| (seq.parse().ok(), n.parse().ok()))?;
    Some((seq?, n?))
}

struct Fields {
    at: UnixNanos,
    header: Option<Bytes>,
    body: Bytes,
    changes: Option<Bytes>,
}

impl Fields {
    fn of(fields: Vec<Value>) -> Option<Self> {
        let (mut at, mut header, mut body, mut changes) = (None, None, None, None);
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let value = value.into_bytes()?;
            match name.as_bytes()? {
                b"a" => at = number(&value),
                b"h" => header = Some(value),
                b"b" => body = Some(value),
                b"c" => changes = Some(value),
                _ => (),
            }
        }
        Some(Self { at: at?, header, body: body?, changes })
    }
}

/// A time that [`stamp`] wrote.
pub(super) fn number(text: &[u8]) -> Option<UnixNanos> {
    std::str::from_utf8(text).ok()?.parse().ok().map(UnixNanos::from_nanos)
}

fn read_header(header: &[u8]) -> Option<(EventKind, UnixNanos, UnixNanos)> {
    let mut parts = std::str::from_utf8(header).ok()?.split(' ');
    let kind = EventKind::from_name(parts.next()?)?;
    let mut time = || parts.next()?.parse().ok().map(UnixNanos::from_nanos);
    Some((kind, time()?, time()?))
}
