//! A relay's positions: one hash a lane.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bond_core::connection::ConnectionId;
use bond_core::cursors::{CursorStore, LaneCursors};
use bond_core::log::{Fence, LogError};
use bond_core::position::{Epoch, Position};
use bond_core::topic::Topic;
use fred::interfaces::HashesInterface;
use serde::{Deserialize, Serialize};

use crate::client::Redis;
use crate::lease::unavailable;
use crate::script::Script;

static SAVE: Script = Script::new(
    "if tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) > tonumber(ARGV[1]) then return 0 end
    redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'cursors', ARGV[2])
    return 1",
);

/// A [`CursorStore`] in Redis.
pub struct RedisCursors(Redis);

impl RedisCursors {
    /// Keeps positions in `redis`.
    pub const fn new(redis: Redis) -> Self {
        Self(redis)
    }
}

fn key(lane: u16) -> String {
    format!("bond:cursors:{lane}")
}

#[async_trait]
impl CursorStore for RedisCursors {
    async fn save(&self, fence: Fence, lane: u16, cursors: &LaneCursors) -> Result<(), LogError> {
        // Fails for maps without text keys, and there are none.
        let text = serde_json::to_string(&Wire::of(cursors)).unwrap_or_default();
        let args = vec![fence.0.to_string().into(), text.into()];
        let saved: bool = SAVE.run(&self.0, key(lane), args).await.map_err(unavailable)?;
        if saved { Ok(()) } else { Err(LogError::Fenced) }
    }

    async fn load(&self, lane: u16) -> Result<LaneCursors, LogError> {
        let text: Option<String> = self.0.client().hget(key(lane), "cursors").await.map_err(unavailable)?;
        let Some(text) = text else { return Ok(LaneCursors::default()) };
        let wire: Option<Wire> = serde_json::from_str(&text).ok();
        wire.and_then(Wire::read)
            .ok_or_else(|| LogError::Unavailable(format!("unreadable cursors of lane {lane}")))
    }
}

/// Positions as `{epoch}:{seq}`, by the names of topics.
#[derive(Serialize, Deserialize)]
struct Wire {
    passed: BTreeMap<String, String>,
    lagging: BTreeMap<String, BTreeMap<String, String>>,
}

impl Wire {
    fn of(cursors: &LaneCursors) -> Self {
        let lagging = cursors.lagging.iter();
        Self {
            passed: write(&cursors.passed),
            lagging: lagging.map(|(id, cursors)| (id.to_string(), write(cursors))).collect(),
        }
    }

    fn read(self) -> Option<LaneCursors> {
        let lagging = self.lagging.into_iter();
        Some(LaneCursors {
            passed: read(&self.passed)?,
            lagging: lagging
                .map(|(id, texts)| Some((ConnectionId::new(id), read(&texts)?)))
                .collect::<Option<_>>()?,
        })
    }
}

fn write(cursors: &BTreeMap<Topic, Position>) -> BTreeMap<String, String> {
    cursors.iter().map(|(topic, position)| (topic.to_string(), position.to_string())).collect()
}

fn read(texts: &BTreeMap<String, String>) -> Option<BTreeMap<Topic, Position>> {
    texts.iter().map(|(topic, text)| Some((topic.parse().ok()?, position(text)?))).collect()
}

fn position(text: &str) -> Option<Position> {
    let (epoch, seq) = text.split_once(':')?;
    Some(Position { epoch: Epoch::new(epoch)?, seq: seq.parse().ok()? })
}
