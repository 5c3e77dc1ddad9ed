//! The subscription to messages about appends, over a separate connection.

use std::collections::HashSet;

use bond_core::log::LogError;
use bond_core::topic::Topic;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::Message;
use fred::types::config::Server;
use tokio::runtime::Handle;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::keys::{TOPIC_CHANNELS, TOPICS_CHANNEL};
use crate::client::{Redis, close, unavailable};

/// Which topics may have changed.
pub(super) enum Hint {
    /// A topic was appended to.
    Appended(Topic),
    /// A topic began or ended.
    Changed(Topic),
    /// Messages may have been missed.
    All,
}

/// The subscribed channels.
pub(super) struct Subscription {
    client: Client,
    runtime: Handle,
    messages: Receiver<Message>,
    reconnections: Receiver<Server>,
    channels: HashSet<String>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        close(&self.runtime, self.client.clone());
    }
}

impl Subscription {
    pub(super) async fn open(redis: &Redis) -> Result<Self, LogError> {
        let client = redis.dedicated().await.map_err(unavailable)?;
        let (messages, reconnections) = (client.message_rx(), client.reconnect_rx());
        let runtime = redis.runtime().clone();
        Ok(Self { client, runtime, messages, reconnections, channels: HashSet::new() })
    }

    /// Subscribes to `wanted`, and to messages about topics that begin or end. After it has returned, no message is missed.
    pub(super) async fn set(&mut self, mut wanted: HashSet<String>) -> Result<(), LogError> {
        wanted.insert(TOPICS_CHANNEL.to_owned());
        let added: Vec<String> = wanted.difference(&self.channels).cloned().collect();
        if !added.is_empty() {
            self.subscribe(added.clone()).await.map_err(unavailable)?;
            self.channels.extend(added);
        }
        let dropped: Vec<String> = self.channels.difference(&wanted).cloned().collect();
        if !dropped.is_empty() {
            self.client.unsubscribe(dropped).await.map_err(unavailable)?;
            self.channels = wanted;
        }
        Ok(())
    }

    /// Pings Redis. Otherwise a connection that has died in silence would never be noticed.
    pub(super) async fn check(&self) -> Result<(), LogError> {
        self.subscribe(vec![TOPICS_CHANNEL.to_owned()]).await.map_err(unavailable)
    }

    async fn subscribe(&self, channels: Vec<String>) -> Result<(), Error> {
        self.client.subscribe(channels).await
    }

    /// Waits for a hint. Cancel-safe.
    pub(super) async fn next(&mut self) -> Hint {
        loop {
            let hint = tokio::select! {
                message = self.messages.recv() => match message {
                    Ok(message) => hint(&message),
                    Err(RecvError::Lagged(_)) => Some(Hint::All),
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                _ = self.reconnections.recv() => Some(self.start_over()),
            };
            if let Some(hint) = hint {
                return hint;
            }
        }
    }

    /// The next hint, if one has arrived already.
    pub(super) fn waiting(&mut self) -> Option<Hint> {
        if self.reconnections.try_recv().is_ok() {
            return Some(self.start_over());
        }
        match self.messages.try_recv() {
            Ok(message) => Some(hint(&message).unwrap_or(Hint::All)),
            Err(TryRecvError::Lagged(_)) => Some(Hint::All),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Handles a reconnection: no channel is subscribed, and any message may have been missed.
    fn start_over(&mut self) -> Hint {
        self.channels.clear();
        Hint::All
    }
}

fn hint(message: &Message) -> Option<Hint> {
    if message.channel == TOPICS_CHANNEL {
        return message.value.as_str()?.parse().ok().map(Hint::Changed);
    }
    let topic = message.channel.strip_prefix(TOPIC_CHANNELS)?;
    topic.parse().ok().map(Hint::Appended)
}
