//! Work that is in order within each lane, with several lanes at once.

use std::collections::{HashMap, VecDeque};

use smol_str::SmolStr;

/// Jobs that wait, by lane. A lane has one job in hand at a time.
pub(crate) struct Lanes<J> {
    waiting: HashMap<SmolStr, VecDeque<J>>,
    /// Lanes with work and none in hand, the first to have come first.
    free: VecDeque<SmolStr>,
    count: usize,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), free: VecDeque::new(), count: 0 }
    }
}

impl<J> Lanes<J> {
    /// How many jobs wait.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Whether nothing waits or is in hand.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn push(&mut self, lane: SmolStr, job: J) {
        self.count += 1;
        if !self.waiting.contains_key(&lane) {
            self.free.push_back(lane.clone());
        }
        self.waiting.entry(lane).or_default().push_back(job);
    }

    /// A job to be taken in hand.
    pub(crate) fn next(&mut self) -> Option<(SmolStr, J)> {
        let lane = self.free.pop_front()?;
        let job = self.waiting.get_mut(&lane)?.pop_front()?;
        self.count -= 1;
        Some((lane, job))
    }

    /// The job that was in hand in `lane` is done.
    pub(crate) fn done(&mut self, lane: SmolStr) {
        match self.waiting.get(&lane) {
            Some(jobs) if jobs.is_empty() => drop(self.waiting.remove(&lane)),
            Some(_) => self.free.push_back(lane),
            None => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_has_one_job_in_hand_and_others_go_on() {
        let mut lanes = Lanes::default();
        for (lane, job) in [("a", 1), ("a", 2), ("b", 3)] {
            lanes.push(lane.into(), job);
        }
        assert_eq!([lanes.next(), lanes.next()], [Some(("a".into(), 1)), Some(("b".into(), 3))]);
        assert_eq!((lanes.next(), lanes.count()), (None, 1), "a's second waits for its first");
        lanes.done("b".into());
        lanes.done("a".into());
        assert_eq!(lanes.next(), Some(("a".into(), 2)));
        assert!(!lanes.is_idle());
        lanes.done("a".into());
        assert!(lanes.is_idle());
    }
}
