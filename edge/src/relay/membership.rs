//! Which connections a lane serves: it learns them from commands, and from the store at the start and every minute.

use std::collections::BTreeMap;

use bond_core::connection::{Carries, Connection, ConnectionId, FeedState, PendingAnswer, TopicsItem};
use bond_core::control::Command;
use bond_core::position::{Position, Start};
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use tracing::warn;

use super::client::{Client, Closing, Standing, Update};
use super::lane::Lane;
use crate::delivery::feed::{Feed, Subscriber};
use crate::delivery::follow::FollowState;

/// How many times in a row a connection must be missing in the store before it counts as closed. Once is not enough: the connection may
/// have been added while the store was being read.
const MISSED: u8 = 2;

impl Lane {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Connected(connection) => {
                self.on_connection(*connection);
            }
            Command::Disconnected { connection, at } => {
                let opened = self.find(&connection).filter(|(_, client)| client.asked.opened_at <= at);
                if let Some(key) = opened.map(|(key, _)| key) {
                    self.part(key);
                }
            }
            Command::StreamsChanged | Command::Feed { .. } | Command::FeedGone { .. } => {}
        }
    }

    /// The client with this connection id, and its id in the lane.
    fn find(&self, id: &ConnectionId) -> Option<(usize, &Client)> {
        let key = self.ids.get(id).copied()?;
        Some((key, self.clients.get(key)?))
    }

    /// Compares the lane's clients with the store's connections. New connections are added at once; clients that were missing twice in
    /// a row are removed. Returns whether all connections are served.
    pub(super) fn reconcile(&mut self, known: Vec<Connection>) -> bool {
        for (_, client) in self.clients.iter_mut() {
            client.missed += 1;
        }
        let mut all = true;
        for connection in known {
            all &= self.on_connection(connection);
        }
        for key in self.clients.ids(|client| client.missed >= MISSED) {
            self.part(key);
        }
        all
    }

    /// Adds a connection, or updates the client if it asks for something else than before. Returns whether it is served.
    fn on_connection(&mut self, connection: Connection) -> bool {
        let key = self.ids.get(&connection.id).copied();
        let Some((key, client)) = key.and_then(|key| Some((key, self.clients.get_mut(key)?))) else {
            return connection.is_over(self.shared.parts.ports.clock.now()) || self.join(connection);
        };
        client.missed = 0;
        let latest = match &client.update {
            Some(Update::Renew(asked)) => asked.asked_at,
            _ => client.asked.asked_at,
        };
        if connection.asked_at <= latest || matches!(client.update, Some(Update::Leave)) {
            return true;
        }
        client.note_answered(latest);
        client.queue_notes(&connection.notes);
        client.pending.extend(answers_after(&connection, latest));
        if matches!(client.standing, Standing::UnderWay { .. }) {
            client.update = Some(Update::Renew(Box::new(connection)));
        } else {
            self.renew(key, connection);
        }
        true
    }

    fn join(&mut self, connection: Connection) -> bool {
        let (id, carries) = (connection.id.clone(), connection.carries.clone());
        if !self.shared.open() {
            warn!(connection = %id, "too many connections: this one is not served");
            return false;
        }
        self.chores.has_moved = true;
        let most_lag = self.shared.config.most_lag;
        let mut client = Client::new(connection, self.restored.clone(), most_lag, self.now);
        let was_known = client.restored().is_some();
        client.told_at =
            client.restored.as_ref().map_or(UnixNanos::EPOCH, |cursors| cursors.told(&client.asked));
        client.pending = answers_after(&client.asked, client.told_at);
        if !client.had_notes() {
            client.queue_notes(&client.asked.notes.clone());
        }
        let Ok(key) = self.clients.insert(client, |_, _| Ok(())) else {
            warn!(connection = %id, "no id is left: this connection is not served");
            self.shared.closed();
            return false;
        };
        self.ids.insert(id, key);
        self.begin(key, &carries);
        self.begin_heartbeats(key, was_known);
        self.queue(key);
        true
    }

    /// Makes a new client follow its stream or feed.
    fn begin(&mut self, key: usize, carries: &Carries) {
        match carries {
            Carries::Stream { id, start } => self.begin_stream(key, &Topic::Stream(id.clone()), start),
            Carries::Feed(state) => self.serve(key, state),
            Carries::Topics(item) => self.begin_topics(key, item),
        }
    }

    fn begin_topics(&mut self, key: usize, item: &TopicsItem) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let restored = client.restored.take().map(|cursors| cursors.of_topics(&client.asked));
        self.serve_topics(key, item, restored.as_ref());
    }

    /// Makes a client follow the topics that it names, and answers what it has said about them.
    fn serve_topics(&mut self, key: usize, item: &TopicsItem, restored: Option<&BTreeMap<Topic, Position>>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (pending, mut answers) = (std::mem::take(&mut client.pending), Vec::new());
        if let Some((feed, subscriber)) = self.subscriber(key) {
            feed.serve_pending(&item.state, &pending, Subscriber { restored, ..subscriber }, &mut answers);
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.queue_answers(&answers);
        }
    }

    fn begin_stream(&mut self, key: usize, topic: &Topic, start: &Start) {
        let Some((feed, mut subscriber)) = self.subscriber(key) else { return };
        feed.follow(topic, start.clone(), &mut subscriber);
        if let Some(client) = self.clients.get_mut(key) {
            client.restored = None;
        }
    }

    fn serve(&mut self, key: usize, asked: &FeedState) {
        if let Some((feed, subscriber)) = self.subscriber(key) {
            feed.serve(asked, subscriber);
        }
    }

    /// Starts the heartbeats of a new client. The first one comes at once, unless the previous relay has sent it.
    fn begin_heartbeats(&mut self, key: usize, was_known: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !client.has_heartbeats() || client.heartbeat_at.is_some() {
            return;
        }
        let (every, now) = (self.shared.config.heartbeat, self.shared.parts.ports.clock.now());
        // A client of topics gets nothing before the states that it asked for.
        if was_known || client.asked.topics().is_some() {
            client.expect_heartbeat(every, now);
        } else {
            client.heartbeat(every, now, &self.shared.parts.ports.board);
        }
    }

    /// Applies what a client asks for now. Topics that it follows already go on from where they are, unless a `resume` moves them.
    pub(super) fn renew(&mut self, key: usize, asked: Connection) {
        self.chores.has_moved = true;
        let Some(client) = self.clients.get_mut(key) else { return };
        let before = std::mem::replace(&mut client.asked, asked);
        client.feed.batch = client.asked.batch;
        let is_placed = before.placed_at != client.asked.placed_at;
        if is_placed {
            client.restored = None;
        }
        match (before.carries, client.asked.carries.clone()) {
            (Carries::Stream { .. }, Carries::Stream { id, start }) if is_placed => {
                client.feed.move_topic(&Topic::Stream(id).to_string(), FollowState::Waiting(Box::new(start)));
            }
            (Carries::Feed(_), Carries::Feed(new)) => self.serve(key, &new),
            (Carries::Topics(_), Carries::Topics(new)) => self.serve_topics(key, &new, None),
            _ => {}
        }
        self.begin_heartbeats(key, false);
        self.queue(key);
    }

    /// Handles that a topic has begun to run: feeds that want it get it from its first event.
    pub(super) fn on_began(&mut self, topic: &Topic) {
        for key in self.clients.ids(|client| client.feed.lacks(topic)) {
            if let Some((feed, mut subscriber)) = self.subscriber(key) {
                feed.follow_more(topic, &mut subscriber);
                self.queue(key);
            }
        }
    }

    fn subscriber(&mut self, key: usize) -> Option<(&mut Feed, Subscriber<'_>)> {
        let Client { feed, asked, restored, .. } = self.clients.get_mut(key)?;
        let subscriber = Subscriber {
            id: key,
            holder: asked.holder.as_ref(),
            restored: restored.as_ref().and_then(|cursors| cursors.of(asked)),
            followers: &mut self.followers,
            hub: &self.shared.hub,
            leases: &self.shared.leases,
            clock: &*self.shared.parts.ports.clock,
            now: self.now,
        };
        Some((feed, subscriber))
    }

    pub(super) fn on_stream_ended(&mut self, stream: &StreamId) {
        let clock = self.shared.parts.ports.clock.now();
        for key in self.clients.ids(|client| client.stream() == Some(stream)) {
            if let Some(client) = self.clients.get_mut(key) {
                client.close(Closing::StreamEnded, clock);
                self.queue(key);
            }
        }
    }

    /// Removes a client whose connection has closed, after the invocation in flight if that posts to it.
    fn part(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if matches!(client.standing, Standing::UnderWay { .. }) {
            client.update = Some(Update::Leave);
        } else {
            self.leave(key);
        }
    }

    /// Removes a client from the lane.
    pub(super) fn leave(&mut self, key: usize) {
        let Some(mut client) = self.clients.remove(key) else { return };
        self.chores.has_moved = true;
        self.ids.remove(&client.asked.id);
        client.feed.give_up(&self.shared.leases, client.asked.holder.as_ref());
        for ring in client.feed.drop_all() {
            self.followers.leave(key, ring);
        }
        self.shared.closed();
    }

    /// Closes a connection whose client does not even take the reason.
    pub(super) fn cut(&mut self, key: usize) {
        self.chores.closures.extend(self.clients.get(key).map(|client| client.asked.id.clone()));
        self.leave_for_good(key);
    }

    /// Removes a client whose connection is closed, from the lane and from the store.
    pub(super) fn leave_for_good(&mut self, key: usize) {
        self.chores.removals.extend(self.clients.get(key).map(|client| client.asked.id.clone()));
        self.leave(key);
    }

    /// Like [`Lane::leave_for_good`], by connection id. Does nothing if an invocation posts to the connection: the receipt will say that
    /// it is gone.
    pub(super) fn drop_closed(&mut self, id: &ConnectionId) {
        let idle = |client: &Client| !matches!(client.standing, Standing::UnderWay { .. });
        let key = self.find(id).and_then(|(key, client)| idle(client).then_some(key));
        if let Some(key) = key {
            self.leave_for_good(key);
        }
    }
}

/// What the relay has to answer to the messages of a client of topics, of which it knew the version `known`.
fn answers_after(connection: &Connection, known: UnixNanos) -> Vec<PendingAnswer> {
    connection.topics().map(|item| item.answers_after(known).cloned().collect()).unwrap_or_default()
}
