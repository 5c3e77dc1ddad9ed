//! The capture file: `recv_ns frame` a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::shift::Ids;

/// One recorded frame.
#[derive(Debug)]
pub(super) struct Record {
    /// Nanoseconds since the first frame.
    pub(super) offset: u64,
    /// Its stream; `None` for a REST answer.
    pub(super) stream: Option<Arc<str>>,
    /// Another name by which clients may ask for it.
    pub(super) alias: Option<Arc<str>>,
    /// The frame, at Binance without the combined wrapper.
    pub(super) data: String,
    /// The ids in it.
    pub(super) ids: Ids,
    /// The last trade id or update id that it carries.
    pub(super) id: String,
}

/// Reads a capture. Acknowledgements and other frames that belong to no stream are left out.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    let file = File::open(path).with_context(|| format!("open capture {}", path.display()))?;
    let gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut records = Vec::new();
    let mut first = None;
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.with_context(|| format!("read capture {}", path.display()))?;
        let (at, frame) =
            split(&line).with_context(|| format!("line {} of {}", number + 1, path.display()))?;
        let offset = at.saturating_sub(*first.get_or_insert(at));
        records.extend(record(offset, frame));
    }
    if records.is_empty() {
        bail!("no frames in capture {}", path.display());
    }
    Ok(records)
}

fn split(line: &str) -> anyhow::Result<(u64, &str)> {
    let (at, frame) = line.split_once(' ').context("expected a receive time and a frame")?;
    Ok((at.parse().context("expected a receive time in nanoseconds")?, frame))
}

/// The parts of a frame that tell where it belongs.
#[derive(Deserialize)]
struct Envelope<'a> {
    stream: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    topic: Option<String>,
    arg: Option<Arg>,
    event: Option<String>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<u64>,
}

#[derive(Deserialize)]
struct Arg {
    channel: String,
    #[serde(rename = "instId")]
    instrument: Option<String>,
    #[serde(rename = "instType")]
    kind: Option<String>,
}

fn record(offset: u64, frame: &str) -> Option<Record> {
    let envelope: Envelope<'_> = serde_json::from_str(frame).ok()?;
    if envelope.event.is_some() {
        return None;
    }
    let (stream, data) = match envelope {
        Envelope { stream: Some(stream), data: Some(data), .. } => (Some(stream), data.get()),
        Envelope { arg: Some(arg), .. } => (Some(okx_stream(arg)?), frame),
        Envelope { topic: Some(topic), .. } => (Some(topic), frame),
        Envelope { last_update_id: Some(_), .. } => (None, frame),
        _ => return None,
    };
    let alias = stream.as_deref().and_then(alias).map(Arc::from);
    let ids = Ids::of(data);
    Some(Record {
        offset,
        ids,
        id: last_id(&ids),
        stream: stream.map(Arc::from),
        alias,
        data: data.to_owned(),
    })
}

fn okx_stream(arg: Arg) -> Option<String> {
    let subject = arg.instrument.or(arg.kind)?;
    Some(format!("{}/{subject}", arg.channel))
}

/// Binance no longer offers `depth@0ms`: a recording of it serves those who ask for `depth@100ms`.
fn alias(stream: &str) -> Option<String> {
    stream.strip_suffix("@depth@0ms").map(|symbol| format!("{symbol}@depth@100ms"))
}

fn last_id(ids: &Ids) -> String {
    ids.trade.or(ids.book).map_or_else(String::new, |(_, last)| last.to_string())
}
