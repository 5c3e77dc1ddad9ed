//! What clients say, and what they are answered.

use std::io::{self, Read};

use bond_core::code::{CloseCode, Code};
use bond_core::connection::{Wish, out_of_place, unknown};
use bond_core::message::{ClientMessage, MessageError, Request, ServerMessage, Subscribe, to_json};
use bond_core::position::{Position, Start};
use serde_json::value::RawValue;

use super::connection::{Carried, Connection, Place};
use super::feed::Feed;
use super::frame;
use super::inbox::{Inbound, Violation};
use super::ring::Ring;
use super::worker::Worker;

/// How often a client's socket is read in one turn.
const TURN_READS: usize = 4;

/// A client with this many bytes of answers that it does not take is not listened to.
const UNHEARD: usize = 16 * 1024;

/// What a message came to.
type Answer = Result<(), MessageError>;

impl Worker {
    /// Reads what a client sent.
    pub(super) fn read(&mut self, id: usize) {
        for _ in 0..TURN_READS {
            let Some(connection) = self.connections.get_mut(id) else { return };
            connection.unread = connection.outbox.len() > UNHEARD;
            if connection.unread {
                return;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let outcome = connection.socket.read(&mut scratch);
            let goes_on = match outcome {
                Ok(0) => self.hang_up(id),
                Ok(count) => self.take_bytes(id, &mut scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(_) => self.hang_up(id),
            };
            self.scratch = scratch;
            if !goes_on {
                return;
            }
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.unread = true;
            self.ready.push(id);
        }
    }

    fn hang_up(&mut self, id: usize) -> bool {
        self.remove(id);
        false
    }

    /// Takes in bytes of a client. Returns whether the connection goes on.
    pub(super) fn take_bytes(&mut self, id: usize, bytes: &mut [u8]) -> bool {
        let mut messages = Vec::new();
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let outcome = connection.inbox.take(bytes, &mut messages);
        for message in messages {
            self.on_inbound(id, message);
        }
        if let Err(Violation { code, reason }) = outcome {
            self.close(id, code, reason);
        }
        if self.connections.get(id).is_some_and(|connection| !connection.outbox.is_empty()) {
            self.turn(id);
        }
        self.connections.contains(id)
    }

    fn on_inbound(&mut self, id: usize, message: Inbound) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_closing = connection.closing.is_some();
        match message {
            Inbound::Close if is_closing => self.remove(id),
            _ if is_closing => {}
            Inbound::Close => {
                self.close(id, CloseCode::Normal, "");
                if self.connections.get(id).is_some_and(|connection| connection.outbox.is_empty()) {
                    self.remove(id);
                }
            }
            Inbound::Ping(payload) => frame::pong(&payload, connection.outbox.end()),
            Inbound::Pong => {}
            Inbound::Text(text) => self.on_text(id, &text),
        }
    }

    fn on_text(&mut self, id: usize, text: &str) {
        let request = Request::parse(text);
        let echo = request.correlation_id.as_deref();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.pace.admit(self.now) {
            let error = MessageError::new(Code::RateLimitExceeded, "20 messages a second are taken");
            return self.answer_error(id, &error, echo);
        }
        let message = match request.message {
            Ok(ClientMessage::Ping) => return self.answer_ping(id, echo),
            other => other,
        };
        if !connection.carried.is_filtered() {
            self.turn_control_on(id);
        }
        let name = message.as_ref().map_or("", ClientMessage::name);
        match message.and_then(|message| self.obey(id, message, echo)) {
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

    fn obey(&mut self, id: usize, message: ClientMessage, echo: Option<&RawValue>) -> Answer {
        let is_filtered = self.carried(id).is_some_and(|carried| carried.is_filtered());
        match message {
            ClientMessage::Refresh { token } => self.refresh(id, &token),
            ClientMessage::Resume { topic, position } => self.resume(id, &topic, position),
            other if !is_filtered => Err(out_of_place(&other)),
            ClientMessage::Subscribe(message) => self.subscribe(id, &message, echo),
            ClientMessage::Unsubscribe(message) => self.unsubscribe(id, message.topic.as_deref()),
            ClientMessage::BackgroundMode(enabled) => self.change_feed(id, |feed| {
                feed.is_background = enabled;
                Ok(())
            }),
            ClientMessage::Frequency { topic, rate } => self.change_feed(id, |feed| match topic {
                Some(name) => {
                    feed.topic_mut(&name).map(|topic| topic.rate = Some(rate)).ok_or_else(|| unknown(&name))
                }
                None => {
                    feed.speed = rate.interval();
                    Ok(())
                }
            }),
            ClientMessage::Ping => Ok(()),
        }
    }

    fn change_feed(&mut self, id: usize, change: impl FnOnce(&mut Feed) -> Answer) -> Answer {
        let Some(Carried::Feed(feed)) = self.carried(id) else { return Ok(()) };
        change(feed)
    }

    /// Serves what is known of the filter, and reports what is not. A message that names too much changes nothing.
    fn subscribe(&mut self, id: usize, message: &Subscribe, echo: Option<&RawValue>) -> Answer {
        if message.topic.is_some() {
            let advice = "subscribe with channels, symbols and exchanges here";
            return Err(MessageError::new(Code::InvalidMessage, advice));
        }
        let (filter, errors) = message.filter()?;
        for error in &errors {
            self.answer_error(id, error, echo);
        }
        let since = self.shared.clock.now();
        self.wish(id, filter.map(|filter| Wish::of(filter, message, since)));
        self.change_feed(id, |feed| {
            if let (Some(batch), Some(size)) = (&mut feed.batch, message.batch_size) {
                batch.size = size.clamp(1, batch.size);
            }
            Ok(())
        })
    }

    fn unsubscribe(&mut self, id: usize, topic: Option<&str>) -> Answer {
        let Some(name) = topic else {
            self.wish(id, None);
            return Ok(());
        };
        let advice =
            format!("not a topic of its own here: {name:.80}; subscribe again with a narrower filter");
        Err(MessageError::new(Code::InvalidMessage, advice))
    }

    fn resume(&mut self, id: usize, topic: &str, position: Position) -> Answer {
        let place = Place::Waiting(Box::new(Start::After(position)));
        let is_named = |ring: &Ring| ring.name == topic;
        match self.carried(id) {
            Some(Carried::Stream { follow, .. }) if is_named(&follow.ring) => follow.place = place,
            Some(Carried::Feed(feed)) => {
                if !feed.move_topic(topic, place) {
                    return Err(unknown(topic));
                }
            }
            _ => return Err(unknown(topic)),
        }
        self.ready.push(id);
        Ok(())
    }

    fn refresh(&mut self, id: usize, token: &str) -> Answer {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        match self.shared.admission.refresh(connection.carried.stream(), token) {
            Ok(grant) => {
                connection.expires_at = grant.expires_at;
                Ok(())
            }
            Err(refusal) => Err(MessageError::new(refusal.code, refusal.message)),
        }
    }
}
