//! The saved positions of a relay's connections: how far each has been served, so that the next relay goes on from there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::connection::{Connection, ConnectionId};
use crate::log::{Fence, LogError};
use crate::position::{Epoch, Position};
use crate::time::UnixNanos;
use crate::topic::Topic;

/// The saved positions of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCursors {
    /// The time, by API Gateway's clock, up to which the relay knew all requests of clients when this was saved.
    pub known_until: UnixNanos,
    /// For each topic, the position that every connection of the lane has reached, except those in `apart`.
    pub passed: BTreeMap<Topic, Position>,
    /// The positions of the other connections: those that lag, and those that asked for a position after `known_until`.
    pub apart: BTreeMap<ConnectionId, Apart>,
}

/// The positions of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The connection's `placed_at` when this was saved. Positions that its client has asked for since are not included.
    pub placed_at: UnixNanos,
    /// The version of the connection whose answers were all delivered.
    pub told_at: UnixNanos,
    /// The position per topic. A topic that is missing begins where the client asked for.
    pub positions: BTreeMap<Topic, Position>,
}

/// The port that stores a relay's positions. A `save` is atomic. A save with a smaller fence than an earlier save changes nothing.
#[async_trait]
pub trait CursorStore: Send + Sync {
    /// Replaces the positions of a lane.
    ///
    /// # Errors
    /// [`LogError`].
    async fn save(&self, fence: Fence, lane: u16, cursors: &LaneCursors) -> Result<(), LogError>;

    /// The positions of a lane that were saved last; empty if none were.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn load(&self, lane: u16) -> Result<LaneCursors, LogError>;
}

impl LaneCursors {
    /// The saved positions of `connection`, or `None` if its client asked for other positions after the save. The newer of the two
    /// wins: a `resume` after the save wins over the save, and the save wins over a `resume` that it already included.
    pub fn of(&self, connection: &Connection) -> Option<&BTreeMap<Topic, Position>> {
        match self.apart.get(&connection.id) {
            Some(apart) => (apart.placed_at >= connection.placed_at).then_some(&apart.positions),
            None => (connection.placed_at <= self.known_until).then_some(&self.passed),
        }
    }

    /// The saved positions of a connection that asks for each of its topics by name, of those that its client has not asked for since.
    pub fn of_topics(&self, connection: &Connection) -> BTreeMap<Topic, Position> {
        let Some(item) = connection.topics() else { return BTreeMap::new() };
        let (saved_at, saved) = match self.apart.get(&connection.id) {
            Some(apart) => (apart.placed_at, &apart.positions),
            None => (self.known_until, &self.passed),
        };
        let holds = |topic: &Topic| {
            item.state
                .topics
                .get(topic.to_string().as_str())
                .is_some_and(|request| request.asked_at <= saved_at)
        };
        saved
            .iter()
            .filter(|(topic, _)| holds(topic))
            .map(|(topic, at)| (topic.clone(), at.clone()))
            .collect()
    }

    /// The version of a connection up to which its client was answered.
    pub fn told(&self, connection: &Connection) -> UnixNanos {
        self.apart.get(&connection.id).map_or(self.known_until, |apart| apart.told_at)
    }

    /// The positions as JSON, for adapters.
    pub fn to_json(&self) -> String {
        let wire = Wire {
            heard_ns: self.known_until.as_nanos(),
            passed: write(&self.passed),
            apart: self
                .apart
                .iter()
                .map(|(id, apart)| (id.as_str().to_owned(), WireApart::of(apart)))
                .collect(),
        };
        // Cannot fail: serialization fails only for maps without text keys and for values that refuse to be written.
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads what [`LaneCursors::to_json`] wrote.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], which says what cannot be read.
    pub fn from_json(text: &str) -> Result<Self, LogError> {
        let wire: Wire = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        let apart = wire.apart.into_iter().map(|(id, apart)| Ok((ConnectionId::new(id), apart.read()?)));
        Ok(Self {
            known_until: UnixNanos::from_nanos(wire.heard_ns),
            passed: read(wire.passed)?,
            apart: apart.collect::<Result<_, LogError>>()?,
        })
    }
}

/// Positions as text: topic name to epoch and number.
type Positions = BTreeMap<String, (String, u64)>;

#[derive(Serialize, Deserialize)]
struct Wire {
    heard_ns: i64,
    passed: Positions,
    apart: BTreeMap<String, WireApart>,
}

#[derive(Serialize, Deserialize)]
struct WireApart {
    placed_ns: i64,
    #[serde(default)]
    told_ns: i64,
    positions: Positions,
}

impl WireApart {
    fn of(apart: &Apart) -> Self {
        Self {
            placed_ns: apart.placed_at.as_nanos(),
            told_ns: apart.told_at.as_nanos(),
            positions: write(&apart.positions),
        }
    }

    fn read(self) -> Result<Apart, LogError> {
        Ok(Apart {
            placed_at: UnixNanos::from_nanos(self.placed_ns),
            told_at: UnixNanos::from_nanos(self.told_ns),
            positions: read(self.positions)?,
        })
    }
}

fn write(positions: &BTreeMap<Topic, Position>) -> Positions {
    let pair = |position: &Position| (position.epoch.to_string(), position.seq);
    positions.iter().map(|(topic, position)| (topic.to_string(), pair(position))).collect()
}

fn read(positions: Positions) -> Result<BTreeMap<Topic, Position>, LogError> {
    let read = |(name, (epoch, seq)): (String, (String, u64))| {
        let topic = name.parse().map_err(|error| unreadable(&error))?;
        let epoch = Epoch::new(&epoch).ok_or_else(|| unreadable(&epoch))?;
        Ok((topic, Position { epoch, seq }))
    };
    positions.into_iter().map(read).collect()
}

fn unreadable(what: &dyn std::fmt::Display) -> LogError {
    LogError::Unavailable(format!("unreadable cursors: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Carries;

    fn at(secs: i64) -> UnixNanos {
        UnixNanos::from_secs(secs)
    }

    fn positions(seq: u64) -> BTreeMap<Topic, Position> {
        let topic = "trades.okx.BTC-USDT".parse().expect("topic");
        BTreeMap::from([(topic, Position { epoch: Epoch::new("e1").expect("epoch"), seq })])
    }

    fn saved() -> LaneCursors {
        let apart = Apart { placed_at: at(120), told_at: at(119), positions: positions(3) };
        let apart = BTreeMap::from([(ConnectionId::new("late"), apart)]);
        LaneCursors { known_until: at(100), passed: positions(7), apart }
    }

    fn connection(name: &str, placed_at: UnixNanos) -> Connection {
        Connection {
            asked_at: placed_at.plus(std::time::Duration::from_secs(1_000)),
            placed_at,
            control: true,
            ..Connection::opened(ConnectionId::new(name), at(0), Carries::Feed(Box::default()))
        }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        assert_eq!(LaneCursors::from_json(&saved().to_json()), Ok(saved()));
        assert!(LaneCursors::from_json("{}").is_err());
    }

    #[test]
    fn a_save_holds_for_the_places_it_knew_of_and_no_other_whatever_was_asked_for_since() {
        let saved = saved();
        assert_eq!(saved.of(&connection("old", at(100))), Some(&positions(7)));
        assert_eq!(saved.of(&connection("unheard", at(101))), None);
        assert_eq!(saved.of(&connection("late", at(120))), Some(&positions(3)));
        assert_eq!(saved.of(&connection("late", at(121))), None, "a resume after the save wins");
    }
}
