//! The search for an event that ends every invocation which carries it: less and less goes into an invocation, until what fails is one
//! event alone, before and after the function has shown that it works.

use std::collections::VecDeque;

use super::invocation_builder::Source;

/// So many invocations in a row fail before the search begins: one may be killed, and the next too.
const FAILURES: u32 = 3;

/// What part of what failed goes into the next invocation.
const PART: usize = 4;

/// How often one event alone fails before it is looked whether the function works without.
const ALONE: u32 = 2;

/// The most events that are known to be at fault; the oldest is forgotten, and found again should it come again.
const CONVICTS: usize = 32;

/// What may go into an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// What fits.
    Full,
    /// So many connections.
    Connections(usize),
    /// So many items of the one connection that is first in line.
    Items(usize),
    /// Nothing, to see whether the function works at all.
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

/// What an invocation had in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TrialLoad {
    pub(super) connections: usize,
    pub(super) items: usize,
    /// The event, where it is one alone and nothing else.
    pub(super) alone: Option<Source>,
}

/// Where the search stands.
#[derive(Debug)]
pub(super) struct Search {
    limit: Limit,
    /// Failures in a row.
    failures: u32,
    /// How much of what failed last has not passed since: connections, or items of one.
    left: usize,
    suspect: Option<Source>,
    /// Whether the function has run well without the suspect.
    works: bool,
    convicts: VecDeque<Source>,
}

impl Search {
    pub(super) const fn new() -> Self {
        Self {
            limit: Limit::Full,
            failures: 0,
            left: 0,
            suspect: None,
            works: false,
            convicts: VecDeque::new(),
        }
    }

    pub(super) const fn limit(&self) -> Limit {
        self.limit
    }

    /// The events that are at fault, in either form.
    pub(super) fn convicts(&self) -> impl Iterator<Item = Source> {
        self.convicts.iter().flat_map(|(ring, offset, _)| [(*ring, *offset, false), (*ring, *offset, true)])
    }

    /// An invocation went well.
    pub(super) fn went_well(&mut self, load: TrialLoad) {
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

    /// An invocation failed. Returns the event that is at fault, if that is known by now.
    pub(super) fn failed(&mut self, load: TrialLoad) -> Option<Source> {
        self.failures += 1;
        match (self.limit, load.alone) {
            // It does not work at all, whatever it is given.
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
            self.convict(event);
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

    fn convict(&mut self, event: Source) {
        if self.convicts.len() >= CONVICTS {
            self.convicts.pop_front();
        }
        self.convicts.push_back(event);
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
            let alone = (count == 1 && items == 1).then_some((1, item, false));
            let load = TrialLoad { connections: count, items: count * items, alone };
            match search.limit() {
                _ if carries => {
                    failures += 1;
                    if let Some(found) = search.failed(load) {
                        assert_eq!(found, (1, POISON, false));
                        return failures;
                    }
                    continue;
                }
                Limit::Items(_) => item += items as u64,
                _ => first += count,
            }
            search.went_well(load);
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
    fn a_function_that_fails_whatever_it_is_given_convicts_nothing() {
        let mut search = Search::new();
        for _ in 0..100 {
            let (connections, items) = search.limit().most();
            let (connections, items) = (connections.min(1), items.min(9));
            let alone = (connections * items == 1).then_some((1, 1, false));
            assert_eq!(search.failed(TrialLoad { connections, items: connections * items, alone }), None);
        }
        for _ in 0..3 {
            search.went_well(TrialLoad { connections: 1, items: 1, alone: Some((1, 1, false)) });
        }
        assert_eq!((search.limit(), search.convicts().count()), (Limit::Full, 0));
    }
}
