//! A feed's turn at its socket: send what is due.

use std::mem;
use std::time::Instant;

use super::connection::{Carried, Connection};
use super::fast_path::TurnOutcome;
use crate::delivery::feed::{Feed, Scratch};
use crate::delivery::follow::Moment;

/// Gives a feed its turn. `Some` time: it wants another turn then, if not before.
pub(crate) fn deliver(
    connection: &mut Connection,
    bench: &mut Scratch,
    moment: &mut Moment<'_>,
) -> (TurnOutcome, Option<Instant>) {
    match connection.flush(moment.now) {
        Ok(true) => {}
        Ok(false) => return (TurnOutcome::Done, None),
        Err(_) => return (TurnOutcome::Broken, None),
    }
    // Taken out, so that the socket and the feed can be worked on at once.
    let Carried::Feed(mut feed) = mem::replace(&mut connection.carried, Carried::Nothing) else {
        return (TurnOutcome::Done, None);
    };
    let outcome = turn(&mut feed, connection, bench, moment);
    connection.carried = Carried::Feed(feed);
    outcome
}

fn turn(
    feed: &mut Feed,
    connection: &mut Connection,
    bench: &mut Scratch,
    moment: &mut Moment<'_>,
) -> (TurnOutcome, Option<Instant>) {
    let chosen = feed.choose(connection.control, connection.outbox.end(), bench, moment);
    if !connection.outbox.is_empty() {
        return (TurnOutcome::More, chosen.timer);
    }
    if chosen.is_held {
        return (TurnOutcome::Done, chosen.timer);
    }
    (send(feed, connection, bench, chosen.more, moment), chosen.timer)
}

fn send(
    feed: &mut Feed,
    connection: &mut Connection,
    bench: &mut Scratch,
    more: bool,
    moment: &mut Moment<'_>,
) -> TurnOutcome {
    feed.render(bench);
    let outcome = if bench.buffer.is_empty() { Ok(0) } else { connection.write(&bench.buffer, moment.now) };
    let Ok(written) = outcome else { return TurnOutcome::Broken };
    let reached = bench.frame_end(written);
    connection.outbox.end().extend_from_slice(&bench.buffer[written..reached]);
    let passed = bench.ends.iter().take_while(|end| **end <= reached).count();
    feed.pass(&bench.picks[..passed], moment);
    if feed.named().is_some() {
        feed.count(&bench.picks[..passed], moment.clock.now(), &mut bench.counts);
    }
    bench.picks.drain(..passed);
    let more = more || !bench.picks.is_empty() || feed.has_due();
    feed.put_back(&mut bench.picks);
    if more && !connection.blocked { TurnOutcome::More } else { TurnOutcome::Done }
}
