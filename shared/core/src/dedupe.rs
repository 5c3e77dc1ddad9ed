//! Duplicate detection: whether a venue sends an event again.

use std::collections::{HashSet, VecDeque};

use smol_str::SmolStr;

/// The ids of an instrument's latest events (trades), to decide whether an id is new. The number of ids is bounded: the oldest are
/// forgotten.
///
/// Most venues number trades upwards, but with gaps, sometimes out of order, and sometimes from the beginning again. Some venues use
/// random ids. Numeric ids are kept sorted, so that the usual case, the next number, is decided at once. Other ids are kept in the
/// order of arrival.
#[derive(Clone, Debug)]
pub struct Seen {
    capacity: usize,
    numbers: VecDeque<u64>,
    texts: HashSet<SmolStr>,
    arrivals: VecDeque<SmolStr>,
}

impl Seen {
    /// An empty memory for up to `capacity` numeric ids, and as many other ids.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, numbers: VecDeque::new(), texts: HashSet::new(), arrivals: VecDeque::new() }
    }

    /// Remembers an id. Returns false if the id is remembered already.
    pub fn insert(&mut self, id: &SmolStr) -> bool {
        match number(id) {
            Some(number) => self.insert_number(number),
            None => self.insert_text(id),
        }
    }

    fn insert_number(&mut self, id: u64) -> bool {
        if self.numbers.back().is_none_or(|last| *last < id) {
            self.numbers.push_back(id);
        } else {
            let Err(at) = self.numbers.binary_search(&id) else { return false };
            if at == 0 && self.numbers.len() >= self.capacity {
                // The number is below all that are remembered. The venue may have begun to number from the start again, and those
                // trades must not be taken for duplicates.
                self.numbers.clear();
            }
            self.numbers.insert(at, id);
        }
        if self.numbers.len() > self.capacity {
            self.numbers.pop_front();
        }
        true
    }

    fn insert_text(&mut self, id: &SmolStr) -> bool {
        if !self.texts.insert(id.clone()) {
            return false;
        }
        self.arrivals.push_back(id.clone());
        if self.arrivals.len() > self.capacity
            && let Some(oldest) = self.arrivals.pop_front()
        {
            self.texts.remove(&oldest);
        }
        true
    }
}

/// The id as a number, if the number is spelled in the usual way (`7`, not `07` or `+7`).
fn number(id: &str) -> Option<u64> {
    let canonical = id.bytes().all(|b| b.is_ascii_digit()) && (!id.starts_with('0') || id == "0");
    if canonical { id.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these ids are new to a memory of four.
    fn fresh(ids: &[&str]) -> Vec<String> {
        let mut seen = Seen::new(4);
        ids.iter().filter(|id| seen.insert(&SmolStr::new(id))).map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_repeated_id_is_not_new() {
        assert_eq!(fresh(&["1", "2", "1", "4", "3", "3", "4"]), ["1", "2", "4", "3"]);
        assert_eq!(fresh(&["a", "b", "a", "c", "b"]), ["a", "b", "c"]);
    }

    #[test]
    fn spellings_are_different_ids() {
        assert_eq!(fresh(&["1", "01", "+1", "1", "01"]), ["1", "01", "+1"]);
        let vast = "123456789012345678901234567890";
        assert_eq!(fresh(&[vast, vast]), [vast]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        assert_eq!(fresh(&["a", "b", "c", "d", "e", "b", "a"]), ["a", "b", "c", "d", "e", "a"]);
        let mut seen = Seen::new(4);
        for id in 0..100_000_u64 {
            seen.insert(&id.to_string().into());
            seen.insert(&format!("x{id}").into());
        }
        assert_eq!((seen.numbers.len(), seen.texts.len(), seen.arrivals.len()), (4, 4, 4));
    }

    #[test]
    fn numbers_that_begin_anew_are_new_and_are_remembered() {
        assert_eq!(fresh(&["7", "8", "9", "10", "1", "2", "2", "1"]), ["7", "8", "9", "10", "1", "2"]);
    }
}
