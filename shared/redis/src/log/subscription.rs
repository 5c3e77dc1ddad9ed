//! The subscription to messages about appends, over a separate connection.

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

/// The most channels in one command.
const CHANNELS_AT_ONCE: usize = 1000;

/// The subscribed channels.
pub(super) struct Subscription {
    client: Client,
    runtime: Handle,
    messages: Receiver<Message>,
    reconnections: Receiver<Server>,
    /// Whether all subscriptions are in place.
    is_whole: bool,
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
        Ok(Self { client, runtime, messages, reconnections, is_whole: false })
    }

    /// Whether all subscriptions are in place. After a reconnection none is.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Subscribes to messages about topics that begin or end, and to `all` channels. After it has returned, no message is missed.
    pub(super) async fn begin(&mut self, all: Vec<String>) -> Result<(), LogError> {
        self.check().await?;
        // A reconnection from here on clears it again.
        self.is_whole = true;
        self.listen(all).await
    }

    /// Subscribes to more channels.
    pub(super) async fn listen(&mut self, channels: Vec<String>) -> Result<(), LogError> {
        for channels in channels.chunks(CHANNELS_AT_ONCE) {
            let listened = self.subscribe(channels.to_vec()).await;
            listened.map_err(|error| self.broken(error))?;
        }
        Ok(())
    }

    /// Unsubscribes from channels.
    pub(super) async fn leave(&mut self, channels: Vec<String>) -> Result<(), LogError> {
        for channels in channels.chunks(CHANNELS_AT_ONCE) {
            let left = self.client.unsubscribe(channels.to_vec()).await;
            left.map_err(|error| self.broken(error))?;
        }
        Ok(())
    }

    fn broken(&mut self, error: Error) -> LogError {
        self.is_whole = false;
        unavailable(error)
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
        self.is_whole = false;
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
