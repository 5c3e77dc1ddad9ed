//! Recorded frames of a venue, in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;

/// One frame of Binance spot's combined streams.
pub struct Frame {
    /// The frame as it came: `{"stream":"btcusdt@trade","data":{…}}`.
    pub combined: String,
    /// Its data alone, which is the frame of a connection without combined streams.
    pub data: String,
    stream: String,
}

impl Frame {
    /// Whether it belongs to this kind of stream: `trade`, `bookTicker`, `depth`.
    pub fn is_of(&self, kind: &str) -> bool {
        self.stream.split('@').nth(1) == Some(kind)
    }
}

/// Reads the stream frames of a gzipped capture, one record a line: receive time, a space, the frame. Answers to REST
/// requests, which have no stream, are left out.
///
/// # Errors
/// An unreadable file, or a record without a space.
pub fn read(path: &Path) -> Result<Vec<Frame>> {
    let file = File::open(path).with_context(|| format!("no capture at {}", path.display()))?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let frames = lines.map(|line| parse(&line?)).filter_map(Result::transpose);
    frames.collect()
}

fn parse(record: &str) -> Result<Option<Frame>> {
    let (_, combined) = record.split_once(' ').context("record without a receive time")?;
    Ok(split(combined).map(|(stream, data)| Frame {
        combined: combined.to_owned(),
        data: data.to_owned(),
        stream: stream.to_owned(),
    }))
}

fn split(combined: &str) -> Option<(&str, &str)> {
    let (stream, rest) = combined.strip_prefix("{\"stream\":\"")?.split_once("\",\"data\":")?;
    Some((stream, rest.trim_end().strip_suffix('}')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_split_into_stream_and_data() {
        let record = r#"17 {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate"}}"#;
        let frame = parse(record).expect("valid").expect("of a stream");
        assert_eq!(frame.data, r#"{"e":"depthUpdate"}"#);
        assert!(frame.is_of("depth") && !frame.is_of("trade"));
    }

    #[test]
    fn an_answer_to_a_request_is_left_out() {
        assert!(parse(r#"17 {"lastUpdateId":1}"#).expect("valid").is_none());
    }
}
