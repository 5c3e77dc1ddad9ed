//! What a relay does with a feed whose client names its topics. The answers to messages reach it with the connection, some at a time, and
//! what a client passes over takes no part in an invocation.

use bond_core::connection::{PendingAnswer, TopicAck, TopicsState};
use bond_core::message::envelope::{self, AckFields, Place};
use bond_core::time::UnixNanos;

use super::subscription::Subscriber;
use super::{Feed, FeedTopic, Picked, TakenMessage};
use crate::delivery::follow::{FollowState, Moment};

impl Feed {
    /// Serves its client as it asks now, and puts the answers to its messages into `out`, as JSON. Those that wait for a topic come with it.
    pub(crate) fn serve_pending(
        &mut self,
        asked: &TopicsState,
        pending: &[PendingAnswer],
        mut subscriber: Subscriber<'_>,
        out: &mut Vec<Vec<u8>>,
    ) {
        let now = subscriber.clock.now();
        let mut ended = self.apply_topics(asked, &mut subscriber);
        out.extend(self.unsaid(&mut ended, now));
        for PendingAnswer { action, answer, correlation_id, .. } in pending {
            let taken = TakenMessage { action, correlation_id: correlation_id.as_deref() };
            match answer {
                Ok(ack) if self.knows(ack, &ended) => out.extend(self.answer(ack, &ended, taken, now)),
                Ok(ack) => out.push(unfollowed(ack, taken, now)),
                Err(refusal) => out.push(envelope::error(refusal, None, now, taken.correlation_id)),
            }
        }
    }

    /// Whether the topic of an answer is, or until now was, followed.
    fn knows(&self, ack: &TopicAck, ended: &[FeedTopic]) -> bool {
        let Some(name) = &ack.topic else { return true };
        self.topics.iter().chain(ended).any(|topic| topic.follow.ring.name == *name)
    }

    /// Whether a topic that was asked for by name has not begun, so that answers may wait for it.
    pub(crate) fn is_joining(&self) -> bool {
        self.topics.iter().any(|topic| matches!(topic.follow.place, FollowState::Joining(_)))
    }

    /// Takes out of `picks` what its client is given nothing of. What comes before an event of the same topic is passed with it: an event
    /// may be the state after those before it. Where no event follows, the cursor moves on at once, unless it is not there yet. Returns
    /// whether such items are left.
    pub(crate) fn leave_out_passed_over(&mut self, picks: &mut Vec<Picked>, moment: &mut Moment<'_>) -> bool {
        let last_given =
            |topic: usize| picks.iter().rposition(|(index, pick)| *index == topic && !pick.frame.is_empty());
        let trailing = |(at, (index, pick)): &(usize, &Picked)| {
            pick.frame.is_empty() && last_given(*index).is_none_or(|given| given < *at)
        };
        let trailing: Vec<Picked> =
            picks.iter().enumerate().filter(trailing).map(|(_, picked)| picked.clone()).collect();
        picks.retain(|(_, pick)| !pick.frame.is_empty());
        let is_after_event = |(topic, _): &Picked| picks.iter().any(|(index, _)| index == topic);
        let (mut left, free): (Vec<Picked>, Vec<Picked>) = trailing.into_iter().partition(is_after_event);
        self.pass(&free, moment);
        let is_left = !left.is_empty();
        self.put_back(&mut left);
        is_left
    }
}

/// The `ack` of a topic that a later message has ended before the relay came to follow it.
fn unfollowed(ack: &TopicAck, taken: TakenMessage<'_>, now: UnixNanos) -> Vec<u8> {
    let topic = ack.topic.as_deref().unwrap_or(envelope::SYSTEM);
    let fields = AckFields { action: taken.action, head: 0, is_compressed: false };
    envelope::ack(Place { topic, epoch: None, seq: 0 }, fields, now, taken.correlation_id)
}
