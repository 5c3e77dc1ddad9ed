//! Faults on demand: what goes wrong, how often, drawn from a seed.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What goes wrong from now on. Probabilities are within 0 and 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FaultPlan {
    /// How likely a post is refused for the account's quota (429).
    pub quota_429: f64,
    /// How likely a post is refused for a slow client (429).
    pub slow_429: f64,
    /// Whether posts to one connection that are under way together are delivered in another order.
    pub reorder: bool,
    /// How likely a `$disconnect` is lost.
    pub lose_disconnect: f64,
    /// For how long after its function has answered a `$connect` is still under way, in milliseconds.
    pub connect_delay_ms: u64,
    /// How likely an asynchronous or a WebSocket route's invocation happens twice.
    pub duplicate_invocations: f64,
    /// How much longer each post takes, in milliseconds.
    pub post_delay_ms: u64,
    /// Which function is killed half-way.
    pub die_midway: Option<DieMidway>,
}

/// Kills the process of an invocation that has posted so often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DieMidway {
    /// The function.
    pub function: String,
    /// After how many posts of one invocation; the last of them is delivered, its answer is not.
    pub after_posts: u32,
    /// How many invocations die.
    #[serde(default = "DieMidway::once")]
    pub times: u32,
}

impl DieMidway {
    fn once() -> u32 {
        1
    }
}

impl FaultPlan {
    /// Why the plan makes no sense; none: it does.
    pub(crate) fn problem(&self) -> Option<String> {
        let probabilities = [
            ("quota_429", self.quota_429),
            ("slow_429", self.slow_429),
            ("lose_disconnect", self.lose_disconnect),
            ("duplicate_invocations", self.duplicate_invocations),
        ];
        let (name, value) = probabilities.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value))?;
        Some(format!("{name} is not within 0 and 1: {value}"))
    }
}

/// The plan in force, and what its chances are drawn from.
#[derive(Debug)]
pub(crate) struct Faults {
    plan: Mutex<FaultPlan>,
    rng: Mutex<StdRng>,
}

impl Faults {
    /// No faults.
    pub(crate) fn new(seed: u64) -> Self {
        Self { plan: Mutex::default(), rng: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// The plan in force.
    pub(crate) fn plan(&self) -> FaultPlan {
        self.plan.lock().clone()
    }

    /// Replaces the plan.
    pub(crate) fn replace(&self, plan: FaultPlan) {
        *self.plan.lock() = plan;
    }

    /// Draws whether a chance of the plan comes true. One that is 0 draws nothing, so that it leaves the others' sequence alone.
    pub(crate) fn strikes(&self, chance: impl FnOnce(&FaultPlan) -> f64) -> bool {
        let probability = chance(&self.plan.lock());
        probability > 0.0 && self.rng.lock().random_bool(probability)
    }

    /// One setting of the plan.
    pub(crate) fn setting<T>(&self, get: impl FnOnce(&FaultPlan) -> T) -> T {
        get(&self.plan.lock())
    }

    /// Puts items in another order.
    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        items.shuffle(&mut *self.rng.lock());
    }

    /// Whether the invocation of `function` that has posted `posts` times dies now; a death is used up.
    pub(crate) fn dies(&self, function: &str, posts: u32) -> bool {
        let mut plan = self.plan.lock();
        let due = |death: &&mut DieMidway| {
            death.times > 0 && death.function == function && death.after_posts == posts
        };
        plan.die_midway.as_mut().filter(due).map(|death| death.times -= 1).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Vec<bool> {
        let faults = Faults::new(seed);
        faults.replace(FaultPlan { quota_429: 0.5, ..FaultPlan::default() });
        (0..64).map(|_| faults.strikes(|plan| plan.quota_429)).collect()
    }

    #[test]
    fn chances_follow_the_seed() {
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn shuffling_follows_the_seed_and_loses_nothing() {
        let shuffled = |seed| {
            let mut items: Vec<u32> = (0..20).collect();
            Faults::new(seed).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
        assert_eq!(shuffled(1), shuffled(1));
        assert_ne!(shuffled(1), sorted);
    }

    #[test]
    fn a_death_comes_at_its_post_of_its_function_and_once() {
        let faults = Faults::new(0);
        let death = DieMidway { function: "f".to_owned(), after_posts: 2, times: 1 };
        faults.replace(FaultPlan { die_midway: Some(death), ..FaultPlan::default() });
        assert!(!faults.dies("f", 1));
        assert!(!faults.dies("g", 2));
        assert!(faults.dies("f", 2));
        assert!(!faults.dies("f", 2));
    }

    #[test]
    fn a_probability_is_within_0_and_1() {
        let plan = FaultPlan { slow_429: 1.5, ..FaultPlan::default() };
        assert_eq!(plan.problem().as_deref(), Some("slow_429 is not within 0 and 1: 1.5"));
    }
}
