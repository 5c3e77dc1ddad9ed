//! The positions that a lane saves for the next relay.
//!
//! Most clients of a lane are at nearly the same place in a topic. One common position per topic therefore stands for all of them: the
//! lowest. A client that is far behind, or whose position the common one does not describe, is saved apart.

use std::collections::{BTreeMap, HashMap};

use bond_core::connection::TopicStart;
use bond_core::cursors::{Apart, LaneCursors};
use bond_core::position::{Position, Start};
use bond_core::topic::Topic;

use super::client::Client;
use super::lane::Lane;
use crate::delivery::cursor::Cursor;
use crate::delivery::feed::Picked;
use crate::delivery::follow::FollowState;

/// A client that is at least this many events behind the foremost client is saved apart. Otherwise the common position would be that
/// far back, and after a takeover all clients would get those events twice.
const BEHIND: u64 = 256;

/// The foremost cursor of each ring, by the ring's id.
type Foremost = HashMap<u64, Cursor>;

impl Lane {
    /// The positions of all connections of the lane. Items in flight count as not delivered.
    pub(super) fn positions(&self) -> LaneCursors {
        let under_way = self.under_way_picks();
        let picks = |key: usize| under_way.get(&key).copied().unwrap_or_default();
        let mut foremost = Foremost::new();
        for (key, client) in self.clients.iter() {
            client.note_foremost(picks(key), &mut foremost);
        }
        let mut cursors = LaneCursors { known_until: self.known_until, ..LaneCursors::default() };
        let mut passed: BTreeMap<Topic, (Cursor, Position)> = BTreeMap::new();
        for (key, client) in self.clients.iter() {
            if self.is_apart(client) || client.is_behind(picks(key), &foremost) {
                let positions = client.positions(picks(key));
                let apart =
                    Apart { placed_at: client.asked.placed_at, told_at: client.answered_until(), positions };
                cursors.apart.insert(client.asked.id.clone(), apart);
            } else {
                client.fold_into(picks(key), &mut passed);
            }
        }
        cursors.passed = passed.into_iter().map(|(topic, (_, position))| (topic, position)).collect();
        cursors
    }

    fn is_apart(&self, client: &Client) -> bool {
        client.asked.placed_at > self.known_until
            || client.restored.is_some()
            || client.noted > 0
            || !client.backoff.is_over(self.now)
    }
}

impl Client {
    fn cursors<'a>(&'a self, under_way: &'a [Picked]) -> impl Iterator<Item = (usize, Option<Cursor>)> + 'a {
        (0..self.feed.topics.len()).map(|index| (index, self.feed.passed(index, under_way)))
    }

    fn note_foremost(&self, under_way: &[Picked], foremost: &mut Foremost) {
        for (index, cursor) in self.cursors(under_way) {
            let Some(cursor) = cursor else { continue };
            let known = foremost.entry(self.feed.topics[index].follow.ring.id).or_insert(cursor);
            if order(&cursor) > order(known) {
                *known = cursor;
            }
        }
    }

    /// Whether one of the client's topics has no position yet, is in an earlier epoch than the foremost, or is far behind it.
    fn is_behind(&self, under_way: &[Picked], foremost: &Foremost) -> bool {
        self.cursors(under_way).any(|(index, cursor)| {
            let foremost = foremost.get(&self.feed.topics[index].follow.ring.id);
            match (cursor, foremost) {
                (Some(cursor), Some(foremost)) => {
                    cursor.generation != foremost.generation || cursor.seq + BEHIND <= foremost.seq
                }
                _ => true,
            }
        })
    }

    /// The client's positions, as far as they are known. Topics that are not followed yet have the positions that the previous relay
    /// saved.
    fn positions(&self, under_way: &[Picked]) -> BTreeMap<Topic, Position> {
        let restored = self.restored().into_iter().flatten().filter(|(topic, _)| self.feed.lacks(topic));
        let mut positions: BTreeMap<Topic, Position> =
            restored.map(|(topic, position)| (topic.clone(), position.clone())).collect();
        for (index, cursor) in self.cursors(under_way) {
            let follow = &self.feed.topics[index].follow;
            let position = match (&follow.place, cursor) {
                (FollowState::Waiting(start), _) => match &**start {
                    Start::After(position) => Some(position.clone()),
                    _ => None,
                },
                (FollowState::Joining(start), _) => match &**start {
                    TopicStart::After(Some(epoch), seq) => Some(Position { epoch: epoch.clone(), seq: *seq }),
                    _ => None,
                },
                (FollowState::At(_), cursor) => cursor.and_then(|cursor| follow.ring.position(cursor)),
            };
            positions.extend(position.map(|position| (follow.ring.topic.clone(), position)));
        }
        positions
    }

    /// Includes the client in the common positions: for each topic, `passed` keeps the lowest cursor.
    fn fold_into(&self, under_way: &[Picked], passed: &mut BTreeMap<Topic, (Cursor, Position)>) {
        for (index, cursor) in self.cursors(under_way) {
            let ring = &self.feed.topics[index].follow.ring;
            let Some(cursor) = cursor else { continue };
            let is_least = passed.get(&ring.topic).is_none_or(|(least, _)| order(&cursor) < order(least));
            if is_least && let Some(position) = ring.position(cursor) {
                passed.insert(ring.topic.clone(), (cursor, position));
            }
        }
    }
}

const fn order(cursor: &Cursor) -> (u32, u64) {
    (cursor.generation, cursor.seq)
}
