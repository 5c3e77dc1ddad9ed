//! The search for a poisoned event: one that makes every invocation fail that carries it.
//!
//! Such an event would stop a lane for ever, since a failed invocation is repeated with the same content. So, after a few failures in a
//! row, less and less goes into an invocation, until a single event fails alone. Before that event is blamed, the function must succeed
//! with an empty invocation, and the event must then fail once more. A function that fails whatever it is given blames no event.
//!
//! For example, an invocation to 64 connections fails because of one event for the last of them. Successes in between are shown once:
//!
//! | invocation | content | outcome | next limit |
//! |---|---|---|---|
//! | 1 to 3 | 64 connections | fails three times: the search begins | 16 connections |
//! | 4 to 6 | 16 connections each | succeed: the first 48 are served | 16 connections |
//! | 7, 8 | 16, then 4 connections | fail | 4, then 1 connection |
//! | … | one connection with 40 events | fails | 10 of its events |
//! | … | 10, 2, then 1 of the events | fails | 1 event |
//! | … | the event alone, twice | fails: it is the suspect | nothing |
//! | … | nothing | succeeds: the function works | 1 event |
//! | last | the event alone | fails: it is poisoned, and the search ends | no limit |
//!
//! If everything that had failed is delivered after all, the search ends without a result.

use std::collections::VecDeque;

use super::invocation_builder::{Form, Source};

/// How many invocations in a row must fail before the search begins. One or two may fail for reasons that have nothing to do with events.
const FAILURES: u32 = 3;

/// A failed invocation is followed by one with this fraction of its content: a quarter.
const PART: usize = 4;

/// How often one event must fail alone before the function is tried with an empty invocation.
const ALONE: u32 = 2;

/// The most poisoned events that are remembered. Beyond it the oldest is forgotten. If it is to be sent again, the search finds it again.
const MOST_POISONED: usize = 32;

/// What may go into an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// As much as fits: there is no search.
    Full,
    /// At most this many connections.
    Connections(usize),
    /// At most this many items of one connection, the first in the queue.
    Items(usize),
    /// Nothing: the invocation is empty and shows whether the function works at all.
    Nothing,
}

impl Limit {
    /// The most connections, and the most items of each.
    pub(super) const fn most(self) -> (usize, usize) {
        match self {
            Self::Full => (usize::MAX, usize::MAX),
            Self::Connections(connections) => (connections, usize::MAX),
            Self::Items(items) => (1, items),
            Self::Nothing => (0, 0),
        }
    }
}

/// What an invocation contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TrialLoad {
    pub(super) connections: usize,
    pub(super) items: usize,
    /// The event, if the invocation contained a single event and nothing else.
    pub(super) alone: Option<Source>,
}

/// The state of the search.
#[derive(Debug)]
pub(super) struct Search {
    limit: Limit,
    /// Failures in a row.
    failures: u32,
    /// How much of the content of the last failed invocation has not been delivered since: connections or items, as in `limit`.
    left: usize,
    /// The event that failed alone.
    suspect: Option<Source>,
    /// Whether an empty invocation has succeeded since the suspect failed.
    works: bool,
    /// The events that were found, oldest first.
    poisoned: VecDeque<Source>,
}

impl Search {
    pub(super) const fn new() -> Self {
        Self {
            limit: Limit::Full,
            failures: 0,
            left: 0,
            suspect: None,
            works: false,
            poisoned: VecDeque::new(),
        }
    }

    pub(super) const fn limit(&self) -> Limit {
        self.limit
    }

    /// The poisoned events, each in every form.
    pub(super) fn poisoned(&self) -> impl Iterator<Item = Source> {
        self.poisoned.iter().flat_map(|(ring, offset, _)| Form::ALL.map(|form| (*ring, *offset, form)))
    }

    /// Records that an invocation succeeded.
    pub(super) fn on_success(&mut self, load: TrialLoad) {
        self.failures = 0;
        let passed = match self.limit {
            Limit::Full => return,
            Limit::Nothing => {
                (self.works, self.limit) = (true, Limit::Items(1));
                return;
            }
            Limit::Connections(_) => load.connections,
            Limit::Items(_) => load.items,
        };
        self.left = self.left.saturating_sub(passed);
        if self.left == 0 {
            self.end();
        }
    }

    /// Records that an invocation failed. Returns the poisoned event if this failure proves it.
    pub(super) fn on_failure(&mut self, load: TrialLoad) -> Option<Source> {
        self.failures += 1;
        match (self.limit, load.alone) {
            // The function fails even with nothing to do, so the suspect is not to blame.
            (Limit::Nothing, _) => (self.limit, self.left, self.suspect) = (Limit::Items(1), 1, None),
            (Limit::Full, _) if self.failures < FAILURES => {}
            (_, Some(event)) => return self.failed_alone(event),
            (_, None) => self.narrow(load),
        }
        None
    }

    fn failed_alone(&mut self, event: Source) -> Option<Source> {
        if self.suspect != Some(event) {
            (self.suspect, self.works, self.failures) = (Some(event), false, 1);
            (self.limit, self.left) = (Limit::Items(1), self.left.max(1));
        }
        if self.works {
            self.mark_poisoned(event);
            return Some(event);
        }
        if self.failures >= ALONE {
            self.limit = Limit::Nothing;
        }
        None
    }

    fn narrow(&mut self, load: TrialLoad) {
        let part = |of: usize| (of / PART).max(1);
        (self.left, self.limit) = match load.connections {
            0 | 1 => (load.items, Limit::Items(part(load.items))),
            many => (many, Limit::Connections(part(many))),
        };
    }

    fn mark_poisoned(&mut self, event: Source) {
        if self.poisoned.len() >= MOST_POISONED {
            self.poisoned.pop_front();
        }
        self.poisoned.push_back(event);
        self.end();
    }

    fn end(&mut self) {
        (self.limit, self.left, self.suspect, self.failures) = (Limit::Full, 0, None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POISON: u64 = 77;

    /// Searches among events 0 to 99 of `connections`, one after the other, of which the last alone gets `POISON`. Returns how many
    /// invocations failed until it was found.
    fn failures_until_found(connections: usize) -> usize {
        let mut search = Search::new();
        let (mut first, mut item, mut failures) = (0, 0, 0);
        for _ in 0..1_000 {
            let (most, items) = search.limit().most();
            let (count, items) = (most.min(connections - first), items.min(100 - item as usize));
            let carries =
                first + count == connections && count > 0 && (item..item + items as u64).contains(&POISON);
            let alone = (count == 1 && items == 1).then_some((1, item, Form::Whole));
            let load = TrialLoad { connections: count, items: count * items, alone };
            match search.limit() {
                _ if carries => {
                    failures += 1;
                    if let Some(found) = search.on_failure(load) {
                        assert_eq!(found, (1, POISON, Form::Whole));
                        return failures;
                    }
                    continue;
                }
                Limit::Items(_) => item += items as u64,
                _ => first += count,
            }
            search.on_success(load);
        }
        panic!("not found among {connections}: {search:?}");
    }

    #[test]
    fn one_event_in_many_is_found_in_few_failures() {
        for (connections, most) in [(1, 10), (10, 12), (1_000, 16)] {
            let failures = failures_until_found(connections);
            assert!(failures <= most, "{failures} among {connections}");
        }
    }

    #[test]
    fn a_function_that_fails_whatever_it_is_given_poisons_nothing() {
        let mut search = Search::new();
        for _ in 0..100 {
            let (connections, items) = search.limit().most();
            let (connections, items) = (connections.min(1), items.min(9));
            let alone = (connections * items == 1).then_some((1, 1, Form::Whole));
            assert_eq!(search.on_failure(TrialLoad { connections, items: connections * items, alone }), None);
        }
        for _ in 0..3 {
            search.on_success(TrialLoad { connections: 1, items: 1, alone: Some((1, 1, Form::Whole)) });
        }
        assert_eq!((search.limit(), search.poisoned().count()), (Limit::Full, 0));
    }
}
