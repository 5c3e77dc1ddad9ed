//! The members of one worker or lane by ids that are never given twice, so that an old id finds nobody instead of a stranger.
//!
//! There is no way to index it: whoever has an id must say what happens where its member is gone.

use std::io;

use slab::Slab;

/// The low half of an id is a place in the slab; the high half counts who had a place before.
const PLACE_BITS: u32 = usize::BITS / 2;

/// The members of one worker or lane.
#[derive(Debug)]
pub(crate) struct Roster<T> {
    entries: Slab<(usize, T)>,
    /// How many members there were.
    count: usize,
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Self { entries: Slab::new(), count: 0 }
    }
}

impl<T> Roster<T> {
    /// Takes a member in and returns its id, once `admit` has had it registered under that id.
    pub(crate) fn insert(
        &mut self,
        mut member: T,
        admit: impl FnOnce(usize, &mut T) -> io::Result<()>,
    ) -> io::Result<usize> {
        let entry = self.entries.vacant_entry();
        let place = entry.key();
        // The last place of all is left out, since no id may be `usize::MAX`.
        if place >= (1 << PLACE_BITS) - 1 {
            return Err(io::Error::other("too many connections"));
        }
        let id = (self.count << PLACE_BITS) | place;
        admit(id, &mut member)?;
        self.count = self.count.wrapping_add(1);
        entry.insert((id, member));
        Ok(id)
    }

    pub(crate) fn get(&self, id: usize) -> Option<&T> {
        self.entries.get(place(id)).filter(|(of, _)| *of == id).map(|(_, member)| member)
    }

    pub(crate) fn get_mut(&mut self, id: usize) -> Option<&mut T> {
        self.entries.get_mut(place(id)).filter(|(of, _)| *of == id).map(|(_, member)| member)
    }

    pub(crate) fn contains(&self, id: usize) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn remove(&mut self, id: usize) -> Option<T> {
        self.get(id)?;
        self.entries.try_remove(place(id)).map(|(_, member)| member)
    }

    /// The ids of those whom `wanted` takes.
    pub(crate) fn ids(&self, wanted: impl Fn(&T) -> bool) -> Vec<usize> {
        self.iter().filter(|(_, member)| wanted(member)).map(|(id, _)| id).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.entries.iter().map(|(_, (id, member))| (*id, member))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.entries.iter_mut().map(|(_, (id, member))| (*id, member))
    }
}

const fn place(id: usize) -> usize {
    id & ((1 << PLACE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_nobody_once_its_member_has_gone_whoever_has_its_place() {
        let mut roster = Roster::default();
        let first = roster.insert("first", |_, _| Ok(())).expect("a place");
        assert_eq!(roster.remove(first), Some("first"));
        let second = roster.insert("second", |_, _| Ok(())).expect("a place");
        assert_eq!(place(first), place(second), "the place is used again");
        assert!(roster.get(first).is_none() && roster.get_mut(first).is_none());
        assert!(roster.remove(first).is_none());
        assert_eq!(roster.get(second), Some(&"second"));
        assert_eq!(roster.iter().map(|(id, _)| id).collect::<Vec<_>>(), [second]);
        assert_eq!(roster.iter_mut().map(|(id, _)| id).collect::<Vec<_>>(), [second]);
    }

    #[test]
    fn who_is_not_admitted_takes_no_place() {
        let mut roster = Roster::default();
        assert!(roster.insert("first", |_, _| Err(io::ErrorKind::Other.into())).is_err());
        assert!(roster.ids(|_| true).is_empty());
    }
}
