//! Measures once a second how far the clients of a lane are behind.

use std::collections::HashMap;
use std::time::Duration;

use bond_core::time::UnixNanos;

use super::client::Client;
use super::lane::Lane;
use crate::delivery::cursor::Cursor;
use crate::delivery::feed::Picked;

impl Lane {
    /// Records the largest number of events that one connection waits for, and the age of the oldest event that was not taken.
    pub(super) fn measure_lag(&self) {
        let under_way = self.under_way_picks();
        let now = self.shared.parts.ports.clock.now();
        let (mut heads, mut oldest) = (HashMap::new(), HashMap::new());
        let (mut depth, mut lag) = (0, Duration::ZERO);
        for (key, client) in self.clients.iter() {
            let picks = under_way.get(&key).copied().unwrap_or_default();
            depth = depth.max(client.waits_for(picks, &mut heads));
            if client.slow_since.is_none() && client.backoff.is_over(self.now) {
                lag = lag.max(client.lag(picks, now, &heads, &mut oldest));
            }
        }
        self.shared.gathered.note(depth, lag);
    }

    /// The items in flight, by client.
    pub(super) fn under_way_picks(&self) -> HashMap<usize, &[Picked]> {
        let sent = self.under_way.iter().flat_map(|under_way| &under_way.sent);
        sent.map(|sent| (sent.client, sent.picks.as_slice())).collect()
    }
}

impl Client {
    /// How many events the client has not taken yet. Topics with a rate do not count, since the client does not want all their events.
    fn waits_for(&self, under_way: &[Picked], heads: &mut HashMap<u64, Cursor>) -> u64 {
        let waiting = self.followed(under_way).map(|(index, cursor)| {
            let ring = &self.feed.topics[index].follow.ring;
            let head = *heads.entry(ring.id).or_insert_with(|| ring.head());
            // Events that are left of an earlier epoch are not counted.
            if head.generation == cursor.generation { head.seq.saturating_sub(cursor.seq) } else { head.seq }
        });
        waiting.sum()
    }

    /// The age of the oldest event that the client has not taken, less the time for which the client lets events wait.
    fn lag(
        &self,
        under_way: &[Picked],
        now: UnixNanos,
        heads: &HashMap<u64, Cursor>,
        oldest: &mut HashMap<(u64, u64), Option<UnixNanos>>,
    ) -> Duration {
        let behind = self.followed(under_way).filter_map(|(index, cursor)| {
            let ring = &self.feed.topics[index].follow.ring;
            heads.get(&ring.id).filter(|head| head.offset > cursor.offset)?;
            *oldest.entry((ring.id, cursor.offset)).or_insert_with(|| ring.first_after(cursor))
        });
        let age = behind.map(|at| now.since(at)).max().unwrap_or_default();
        age.saturating_sub(self.patience())
    }

    /// How long the client lets events wait: for a batch to fill, and to be put in order.
    fn patience(&self) -> Duration {
        let batch = self.feed.batch.map_or(Duration::ZERO, |batch| batch.wait);
        let wish = self.feed.asked().and_then(|asked| asked.wish.as_ref());
        batch + wish.map_or(Duration::ZERO, |wish| wish.max_lag)
    }

    fn followed<'a>(&'a self, under_way: &'a [Picked]) -> impl Iterator<Item = (usize, Cursor)> + 'a {
        let every = (0..self.feed.topics.len()).filter(|index| !self.feed.is_thinned(*index));
        every.filter_map(|index| Some((index, self.feed.passed(index, under_way)?)))
    }
}
