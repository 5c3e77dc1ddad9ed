//! What clients say, what is done about it, and what they are answered.

use std::io::{self, Read};

use bond_core::code::{CloseCode, Code};
use bond_core::connection::{FeedState, start_of_stream};
use bond_core::message::{ClientMessage, MessageError, Request, ServerMessage, to_json};
use bond_core::topic::Topic;
use mio::event::Event;
use serde_json::value::RawValue;

use super::budget::Refusing;
use super::connection::{Carried, Connection};
use super::frame_decoder::{Inbound, ReceivedFrame, Violation};
use super::worker::Worker;
use crate::delivery::feed::{Feed, Subscriber};
use crate::delivery::follow::FollowState;

/// How often a client's socket is read in one turn.
const TURN_READS: usize = 4;

/// How many frames of a client are taken in one turn, so that one that floods does not hold up the others.
const TURN_FRAMES: usize = 64;

/// What a client is told that says more than it may.
pub(super) const TOO_FAST: &str = "20 messages a second are taken";

/// What a client is told whose messages are more frames or bytes than it may send.
const TOO_MUCH: &str = "200 frames and 256 KiB a second are taken";

/// What a client is told that asks for more answers than are kept.
const OVERFULL: &str = "too many answers wait: take them before you ask for more";

/// A client with this many bytes of answers that it does not take is not listened to.
pub(crate) const UNHEARD: usize = 16 * 1024;

/// What a message came to.
type Answer = Result<(), MessageError>;

impl Worker {
    /// Looks after a socket that can be read or written.
    pub(super) fn on_socket(&mut self, event: &Event) {
        let id = event.token().0;
        let Some(connection) = self.connections.get_mut(id) else { return };
        if event.is_writable() {
            // The other side has taken what it was sent.
            connection.hear(self.now);
            connection.blocked = false;
            self.ready.push(id);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(id);
        }
    }

    /// Reads what a client sent, as far as its turn goes.
    pub(super) fn read(&mut self, id: usize) {
        for _ in 0..TURN_READS {
            if !self.take_frames(id) {
                return;
            }
            let Some(connection) = self.connections.get_mut(id) else { return };
            match connection.socket.read(&mut self.scratch) {
                Ok(0) => return self.remove(id),
                Ok(count) => {
                    connection.hear(self.now);
                    connection.inbox.feed(&self.scratch[..count], self.now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.remove(id),
            }
        }
        self.read_on(id);
    }

    /// Has a client read again although its socket may not say so.
    fn read_on(&mut self, id: usize) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.unread = true;
            self.ready.push(id);
        }
    }

    /// Takes in what a newcomer sent behind its request.
    pub(super) fn take_bytes(&mut self, id: usize, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.inbox.feed(bytes, self.now);
            self.take_frames(id);
        }
    }

    /// Works through the frames that have come. Returns whether more can be read.
    fn take_frames(&mut self, id: usize) -> bool {
        for _ in 0..TURN_FRAMES {
            let Some(connection) = self.connections.get_mut(id) else { return false };
            connection.unread = connection.outbox.len() > UNHEARD;
            if connection.unread {
                // It reads on once all was taken.
                self.ready.push(id);
                return false;
            }
            match connection.inbox.next(self.now) {
                Ok(None) => {
                    self.answer_now(id);
                    return self.connections.contains(id);
                }
                Ok(Some(taken)) => self.on_frame(id, taken),
                Err(Violation { code, reason }) => {
                    self.close(id, code, reason);
                    return false;
                }
            }
        }
        self.answer_now(id);
        self.read_on(id);
        false
    }

    /// Sends what was answered so far.
    fn answer_now(&mut self, id: usize) {
        if self.connections.get(id).is_some_and(|connection| !connection.outbox.is_empty()) {
            self.turn(id);
        }
    }

    fn on_frame(&mut self, id: usize, taken: ReceivedFrame) {
        let moment = self.moment();
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_closing = connection.closing.is_some();
        let admitted = connection.budget.admit_frame(taken.bytes, moment);
        match taken.inbound {
            Some(Inbound::Close) if is_closing => self.remove(id),
            _ if is_closing => {}
            Some(Inbound::Close) => self.hang_up(id),
            Some(Inbound::Text(text)) => self.on_text(id, &text, admitted),
            Some(Inbound::Deflated(message)) => self.on_deflated(id, message, admitted),
            _ if !admitted => drop(self.refuse(id)),
            Some(Inbound::Ping(payload)) => connection.pong(&payload),
            Some(Inbound::Pong) | None => {}
        }
        if self.connections.get(id).is_some_and(|connection| connection.is_overfull) {
            self.close(id, CloseCode::PolicyViolation, OVERFULL);
        }
    }

    /// Answers a close.
    fn hang_up(&mut self, id: usize) {
        self.close(id, CloseCode::Normal, "");
        if self.connections.get(id).is_some_and(|connection| connection.outbox.is_empty()) {
            self.remove(id);
        }
    }

    /// Counts what was refused, and sends away who goes on. Returns whether the client is to be told.
    pub(super) fn refuse(&mut self, id: usize) -> bool {
        let refused = self.connections.get_mut(id).map(|connection| connection.budget.refuse());
        if refused == Some(Refusing::Dismissed) {
            self.close(id, CloseCode::PolicyViolation, &format!("{}: {TOO_FAST}", Code::RateLimitExceeded));
        }
        refused == Some(Refusing::Told)
    }

    /// Takes a text whose frame was within the budget, or was not.
    pub(super) fn on_text(&mut self, id: usize, text: &str, is_admitted_frame: bool) {
        let moment = self.moment();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.topics.is_some() && is_admitted_frame {
            return self.on_topics_text(id, text);
        }
        let is_admitted = is_admitted_frame && connection.budget.admit_message(moment);
        // What nobody is told of is not even looked at.
        if !is_admitted && !self.refuse(id) {
            return;
        }
        let request = Request::parse(text);
        let echo = request.correlation_id.as_deref();
        if !is_admitted {
            let reason = if is_admitted_frame { TOO_FAST } else { TOO_MUCH };
            let error = MessageError::new(Code::RateLimitExceeded, reason);
            return self.answer_error(id, &error, echo);
        }
        let message = match request.message {
            Ok(ClientMessage::Ping) => return self.answer_ping(id, echo),
            other => other,
        };
        if !self.carried(id).is_some_and(|carried| carried.is_filtered()) {
            self.turn_control_on(id);
        }
        let name = message.as_ref().map_or("", ClientMessage::name);
        match message.and_then(|message| self.obey(id, &message, echo)) {
            Ok(()) => self.answer_ack(id, name, echo),
            Err(error) => self.answer_error(id, &error, echo),
        }
    }

    fn answer_ping(&mut self, id: usize, correlation_id: Option<&RawValue>) {
        let pong = ServerMessage::Pong { ts: self.shared.clock.now(), correlation_id };
        self.say(id, &pong);
    }

    fn answer_ack(&mut self, id: usize, action: &str, correlation_id: Option<&RawValue>) {
        let wants_it = |connection: &Connection| connection.control || correlation_id.is_some();
        if self.connections.get(id).is_some_and(wants_it) {
            let ack = ServerMessage::Ack { action, ts: self.shared.clock.now(), correlation_id };
            self.say(id, &ack);
        }
    }

    fn answer_error(&mut self, id: usize, error: &MessageError, correlation_id: Option<&RawValue>) {
        self.say(id, &ServerMessage::error(error, correlation_id));
    }

    fn say(&mut self, id: usize, message: &ServerMessage<'_>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.say(&to_json(message));
        }
    }

    fn obey(&mut self, id: usize, message: &ClientMessage, echo: Option<&RawValue>) -> Answer {
        if let ClientMessage::Refresh { token } = message {
            return self.refresh(id, token);
        }
        match self.carried(id) {
            Some(carried) if carried.is_filtered() => self.change(id, message, echo),
            _ => self.resume(id, message),
        }
    }

    /// Changes a feed as its client says; what it says is decided where all hosts have it from.
    fn change(&mut self, id: usize, message: &ClientMessage, echo: Option<&RawValue>) -> Answer {
        let now = self.shared.clock.now();
        let Some(Carried::Feed(feed)) = self.carried(id) else { return Ok(()) };
        let Some(mut asked) = feed.asked().cloned() else { return Ok(()) };
        let unknown = asked.take(message, &mut feed.batch, now, false)?;
        for error in &unknown {
            self.answer_error(id, error, echo);
        }
        self.serve(id, &asked);
        Ok(())
    }

    /// Serves a feed as its client asks now.
    pub(super) fn serve(&mut self, id: usize, asked: &FeedState) {
        if let Some((feed, subscriber)) = self.subscriber(id) {
            feed.serve(asked, subscriber);
            self.ready.push(id);
        }
    }

    /// A topic began to run: whoever wants it gets it from its first event.
    pub(super) fn on_began(&mut self, topic: &Topic) {
        let lacks = |c: &Connection| matches!(&c.carried, Carried::Feed(feed) if feed.lacks(topic));
        for id in self.connections.ids(lacks) {
            if let Some((feed, mut subscriber)) = self.subscriber(id) {
                feed.follow_more(topic, &mut subscriber);
                self.ready.push(id);
            }
        }
    }

    pub(super) fn subscriber(&mut self, id: usize) -> Option<(&mut Feed, Subscriber<'_>)> {
        let Connection { carried: Carried::Feed(feed), holder, .. } = self.connections.get_mut(id)? else {
            return None;
        };
        let subscriber = Subscriber {
            id,
            holder: holder.as_ref(),
            restored: None,
            followers: &mut self.followers,
            hub: &self.shared.hub,
            leases: &self.shared.leases,
            clock: &*self.shared.clock,
            now: self.now,
        };
        Some((feed, subscriber))
    }

    /// Has a stream go on from elsewhere, where the message says so.
    fn resume(&mut self, id: usize, message: &ClientMessage) -> Answer {
        let Some(carried) = self.carried(id) else { return Ok(()) };
        let Some(stream) = carried.stream().cloned() else { return Ok(()) };
        let Some(start) = start_of_stream(&stream, message)? else { return Ok(()) };
        let place = FollowState::Waiting(Box::new(start));
        match carried {
            Carried::Stream { follow, .. } => follow.place = place,
            Carried::Feed(feed) => feed.move_topic(&Topic::Stream(stream).to_string(), place),
            Carried::Nothing => {}
        }
        self.ready.push(id);
        Ok(())
    }

    fn refresh(&mut self, id: usize, token: &str) -> Answer {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        match self.shared.admission.refresh(connection.carried.stream(), connection.holder.as_ref(), token) {
            Ok(grant) => {
                (connection.expires_at, connection.holder) = (grant.expires_at, grant.holder);
                Ok(())
            }
            Err(refusal) => Err(MessageError::new(refusal.code, refusal.message)),
        }
    }
}
