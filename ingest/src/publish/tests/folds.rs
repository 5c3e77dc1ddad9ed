//! The state at every number, against a fold of its own: trees of keys, and scalars that are texts.

use std::collections::BTreeMap;

use bond_core::log::EventKind;
use bond_core::publish::{PublishBatch, PublishedFields, fold};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Bench, request};

const EVENTS: usize = 10_000;

const SCALARS: [&str; 8] =
    ["0.1000", "-0.0", "1e400", "123456789012345678901234567890", "true", "\"\"", "[1.50,{}]", "\"ä\""];

#[derive(Clone, Debug)]
enum Json {
    Null,
    Scalar(&'static str),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn text(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Scalar(text) => (*text).to_owned(),
            Self::Object(members) => {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("\"{key}\":{}", value.text())).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    /// RFC 7396, section 2, as it is written there.
    fn patched(target: Option<Self>, patch: &Self) -> Self {
        let Self::Object(changes) = patch else { return patch.clone() };
        let mut members = match target {
            Some(Self::Object(members)) => members,
            _ => BTreeMap::new(),
        };
        for (key, value) in changes {
            let before = members.remove(key);
            if !matches!(value, Self::Null) {
                members.insert(key.clone(), Self::patched(before, value));
            }
        }
        Self::Object(members)
    }

    fn random(rng: &mut ChaCha8Rng, depth: u8) -> Self {
        match rng.random_range(0..10) {
            0 => Self::Null,
            1..6 => Self::Scalar(SCALARS[rng.random_range(0..SCALARS.len())]),
            _ if depth == 0 => Self::Scalar("7"),
            _ => Self::object(rng, depth - 1),
        }
    }

    fn object(rng: &mut ChaCha8Rng, depth: u8) -> Self {
        let count = rng.random_range(0..5);
        let member = |_| (format!("k{}", rng.random_range(0..6)), Self::random(rng, depth));
        Self::Object((0..count).map(member).collect())
    }
}

/// A random event, and what it makes of `state`.
fn step(rng: &mut ChaCha8Rng, state: Option<Json>) -> (String, Option<Json>) {
    let payload = if rng.random_range(0..20) == 0 { Json::random(rng, 0) } else { Json::object(rng, 2) };
    let (kind, state) = match rng.random_range(0..20) {
        0 => ("snapshot", Some(payload.clone())),
        1 | 2 => ("alert", state),
        _ => ("delta", Some(Json::patched(state, &payload))),
    };
    (format!(r#"{{"type":"{kind}","payload":{}}}"#, payload.text()), state)
}

#[tokio::test]
async fn the_state_at_every_number_is_what_the_events_make_to_the_digit() {
    let bench = Bench::new().await;
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut state, mut states) = (None, Vec::with_capacity(EVENTS));
    while states.len() < EVENTS {
        let mut events = Vec::new();
        for _ in 0..rng.random_range(1..=40) {
            let event;
            (event, state) = step(&mut rng, state);
            states.push(state.as_ref().map(Json::text));
            events.push(event);
        }
        bench.publish(request(&format!(r#"{{"events":[{}]}}"#, events.join(",")))).await.expect("published");
        let (seq, found) = bench.state().await.expect("a state");
        assert_eq!((seq, found), (states.len() as u64, states[states.len() - 1].clone().unwrap_or_default()));
    }
    let events = bench.events().await;
    assert_eq!(events.len(), states.len());
    let mut followed = None;
    for ((seq, kind, body), state) in events.into_iter().zip(states) {
        let mut scratch = String::new();
        let fields = PublishedFields::read(&body, &mut scratch).expect("fields");
        followed = fold(followed, kind, fields.payload());
        assert_eq!(followed.as_deref(), state.as_deref().map(str::as_bytes), "at {seq}");
    }
}

#[tokio::test]
async fn an_alert_is_no_part_of_the_state() {
    let bench = Bench::new().await;
    let batch = r#"{"events":[{"type":"alert","payload":{"margin":"low"}}]}"#;
    bench.publish(request(batch)).await.expect("published");
    assert_eq!(bench.state().await, Some((1, String::new())));
    assert_eq!(bench.events().await[0].1, EventKind::Alert);
    assert_eq!(PublishBatch::parse(batch).expect("a batch").events.len(), 1);
}
