//! Shortens messages that are too large for a frame: an order book to the depth that fits; a venue's own frame is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// An event's fields, each as it was written.
type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

/// An event in which some fields are replaced.
#[derive(Serialize)]
struct Cut<'a> {
    #[serde(flatten)]
    fields: BTreeMap<&'a str, Box<RawValue>>,
    truncated: bool,
    /// The size of the whole frame, in bytes.
    size: usize,
}

/// A venue's own frame, as a raw event carries it.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    r#type: &'a str,
    data: Option<&'a str>,
}

/// The event shortened to at most `limit` bytes; `None` if nothing of it can be left out.
pub(super) fn to_fit(text: &[u8], limit: usize) -> Option<Box<RawValue>> {
    let fields: Fields<'_> = serde_json::from_slice(text).ok()?;
    if fields.contains_key("bids") && fields.contains_key("asks") {
        return book(&fields, text.len(), limit);
    }
    let payload = fields.get("payload")?;
    match to_fit(payload.get().as_bytes(), limit.saturating_sub(text.len() - payload.get().len())) {
        Some(cut) => replace_member(&fields, "payload", cut),
        None => without_payload(&fields, text.len(), limit),
    }
}

/// A message in an envelope, with what it carries replaced.
fn replace_member(fields: &Fields<'_>, name: &str, by: Box<RawValue>) -> Option<Box<RawValue>> {
    let other = |(known, value): (&&str, &&RawValue)| {
        (*known != name).then(|| ((*known).to_owned(), (*value).to_owned()))
    };
    let mut fields: BTreeMap<String, Box<RawValue>> = fields.iter().filter_map(other).collect();
    fields.insert(name.to_owned(), by);
    to_raw_value(&fields).ok()
}

fn book(fields: &Fields<'_>, size: usize, limit: usize) -> Option<Box<RawValue>> {
    let bids: Vec<&RawValue> = serde_json::from_str(fields["bids"].get()).ok()?;
    let asks: Vec<&RawValue> = serde_json::from_str(fields["asks"].get()).ok()?;
    let mut depth = bids.len().max(asks.len());
    while depth > 1 {
        depth /= 2;
        let side = |levels: &[&RawValue]| to_raw_value(&levels[..depth.min(levels.len())]).ok();
        let changes = [("bids", side(&bids)?), ("asks", side(&asks)?)];
        let whole = replace(fields, changes, size)?;
        if whole.get().len() <= limit {
            return Some(whole);
        }
    }
    None
}

fn without_payload(fields: &Fields<'_>, size: usize, limit: usize) -> Option<Box<RawValue>> {
    let kind: BTreeMap<&str, &RawValue> = serde_json::from_str(fields["payload"].get()).ok()?;
    let kind: &str = serde_json::from_str(kind.get("type")?.get()).ok()?;
    let payload = to_raw_value(&Payload { r#type: kind, data: None }).ok()?;
    replace(fields, [("payload", payload)], size).filter(|whole| whole.get().len() <= limit)
}

fn replace<const N: usize>(
    fields: &Fields<'_>,
    changes: [(&'static str, Box<RawValue>); N],
    size: usize,
) -> Option<Box<RawValue>> {
    let mut fields: BTreeMap<&str, Box<RawValue>> =
        fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    fields.extend(changes);
    to_raw_value(&Cut { fields, truncated: true, size }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_book_keeps_its_best_levels_to_the_digit() {
        let levels = |price: &str| vec![format!("[{price}.10,0.00000100]"); 400].join(",");
        let (bids, asks) = (levels("100"), levels("101"));
        let text = format!(r#"{{"type":"orderbook","seq":7,"bids":[{bids}],"asks":[{asks}],"depth":400}}"#);
        let cut = to_fit(text.as_bytes(), 4_096).expect("cut");
        assert!(cut.get().len() <= 4_096 && cut.get().contains("[100.10,0.00000100]"));
        let event: Value = serde_json::from_str(cut.get()).expect("json");
        assert_eq!(
            (event["truncated"].as_bool(), event["size"].as_u64()),
            (Some(true), Some(text.len() as u64))
        );
        assert_eq!((event["seq"].as_u64(), event["bids"].as_array().map(Vec::len)), (Some(7), Some(100)));
    }

    #[test]
    fn a_raw_frame_is_cut_to_none() {
        let text =
            format!(r#"{{"type":"raw","seq":1,"payload":{{"type":"text","data":"{}"}}}}"#, "x".repeat(5_000));
        let event: Value =
            serde_json::from_str(to_fit(text.as_bytes(), 1_000).expect("cut").get()).expect("json");
        assert_eq!(event["payload"], serde_json::json!({"type": "text", "data": null}));
        assert_eq!(event["size"], text.len());
    }

    #[test]
    fn nothing_else_can_be_cut() {
        assert!(to_fit(format!(r#"{{"a":"{}"}}"#, "x".repeat(99)).as_bytes(), 50).is_none());
        assert!(to_fit(b"{", 50).is_none());
    }
}
