//! A relay's positions: one hash a lane.

use async_trait::async_trait;
use bond_core::cursors::{CursorStore, LaneCursors};
use bond_core::log::{Fence, LogError};

use crate::client::{Redis, Verb, unavailable};
use crate::script::Script;

/// The first write needs no memory, because a full Redis then lets the script write the rest too.
static SAVE: Script = Script::new(
    "redis.call('PERSIST', KEYS[1])
    if tonumber(redis.call('HGET', KEYS[1], 'fence') or 0) > tonumber(ARGV[1]) then return 0 end
    redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'cursors', ARGV[2])
    return 1",
);

const GET: Verb = Verb::new("HGET", 0);

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
        let args = vec![fence.0.to_string().into(), cursors.to_json().into()];
        let saved: bool = SAVE.run(&self.0, key(lane), args).await.map_err(unavailable)?;
        if saved { Ok(()) } else { Err(LogError::Fenced) }
    }

    async fn load(&self, lane: u16) -> Result<LaneCursors, LogError> {
        let args = vec![key(lane).into(), "cursors".into()];
        let text: Option<String> = self.0.call(GET, args).await.map_err(unavailable)?;
        text.map_or(Ok(LaneCursors::default()), |text| LaneCursors::from_json(&text))
    }
}
