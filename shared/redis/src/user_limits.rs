//! How often users have subscribed, over all processes: a hash for each user with a time for each family (the generic cell rate algorithm).

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::connection::{Allowance, UserLimits};
use bond_core::log::LogError;
use bond_core::topic::Family;
use fred::types::Value;

use crate::client::{Redis, unavailable};
use crate::script::Script;

/// The key of a user's hash is this and the user's name.
const PREFIX: &str = "bond:subscriptions:";

/// Times are microseconds of the clock of Redis, which a double holds exactly. The key expires once all that was counted is paid off.
static SPEND: Script = Script::new(
    "local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local answers, longest = {}, 0
    for i = 1, #ARGV, 4 do
        local family, interval, burst, wanted = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
        local owed = math.max(tonumber(redis.call('HGET', KEYS[1], family) or 0) - now, 0)
        local room = math.max(math.floor((interval * burst - owed) / interval), 0)
        local granted = math.min(wanted, room)
        owed = owed + granted * interval
        if granted > 0 then redis.call('HSET', KEYS[1], family, string.format('%.0f', now + owed)) end
        longest = math.max(longest, owed)
        answers[#answers + 1] = granted
        answers[#answers + 1] = math.max(owed - interval * (burst - 1), 1)
    end
    if longest > 0 then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(longest / 1000) + 1000)) end
    return answers",
);

/// [`UserLimits`] in Redis, with one request for each message.
pub struct RedisUserLimits(Redis);

impl RedisUserLimits {
    /// Over this connection.
    pub const fn new(redis: Redis) -> Self {
        Self(redis)
    }
}

#[async_trait]
impl UserLimits for RedisUserLimits {
    async fn spend(
        &self,
        user: &str,
        wanted: &BTreeMap<Family, u32>,
    ) -> Result<BTreeMap<Family, Allowance>, LogError> {
        let arguments = wanted.iter().flat_map(|(family, count)| arguments(*family, *count)).collect();
        let answers: Vec<i64> =
            SPEND.run_once(&self.0, format!("{PREFIX}{user}"), arguments).await.map_err(unavailable)?;
        let allowances = answers.chunks_exact(2).map(allowance);
        Ok(wanted.keys().copied().zip(allowances).collect())
    }
}

fn arguments(family: Family, count: u32) -> [Value; 4] {
    let limit = family.limit_of_user();
    let interval = i64::try_from(limit.interval.as_micros()).unwrap_or(i64::MAX);
    [family.name().into(), interval.into(), i64::from(limit.burst).into(), i64::from(count).into()]
}

fn allowance(pair: &[i64]) -> Allowance {
    let number = |index: usize| u64::try_from(pair[index]).unwrap_or(0);
    Allowance {
        granted: u32::try_from(number(0)).unwrap_or(u32::MAX),
        wait: Duration::from_micros(number(1)),
    }
}
