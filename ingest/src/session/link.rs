//! An open connection with its deadlines: heartbeat, keepalive, the rate of sending, and its greatest age.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::transport::{Received, Socket, SocketError};
use crate::venue::{Keepalive, Subscription};

/// How long sending a message may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection was given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("{0}")]
    Socket(#[from] SocketError),
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    #[error("a message could not be sent within {SEND_TIMEOUT:?}")]
    Stuck,
    #[error("{} {}: {reason}", subscription.instrument, subscription.channel.name())]
    Starved { subscription: Subscription, reason: String },
    #[error("{}: no proven order book after many attempts", .0.instrument)]
    Unproven(Subscription),
    #[error("an error within bond")]
    Panicked,
    #[error("the venue asks to connect anew: {0}")]
    Asked(String),
    #[error("end of the connection's planned life")]
    Lifetime,
    #[error("the list of instruments has changed")]
    Relisted,
}

impl Lost {
    /// Whether the end was planned. It is then no failure, and the next attempt need not wait.
    pub(crate) const fn is_planned(&self) -> bool {
        matches!(self, Self::Asked(_) | Self::Lifetime | Self::Relisted)
    }
}

/// The limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkPolicy {
    /// How long the connection may be silent. After half of it we send a ping.
    pub(crate) heartbeat: Duration,
    /// The least time between two messages that we send.
    pub(crate) message_interval: Duration,
    /// The message that keeps the venue from closing the connection, if one is needed.
    pub(crate) keepalive: Option<Keepalive>,
    /// How long the connection may live.
    pub(crate) lifetime: Option<Duration>,
}

/// An open connection.
pub(crate) struct Link<S> {
    socket: S,
    policy: LinkPolicy,
    outbox: VecDeque<String>,
    send_at: Instant,
    keepalive_at: Option<Instant>,
    heard: Instant,
    pinged: bool,
    ends: Option<Instant>,
}

impl<S: Socket> Link<S> {
    pub(crate) fn new(socket: S, policy: LinkPolicy, now: Instant) -> Self {
        Self {
            socket,
            policy,
            outbox: VecDeque::new(),
            send_at: now,
            keepalive_at: policy.keepalive.and_then(|keepalive| now.checked_add(keepalive.every)),
            heard: now,
            pinged: false,
            ends: policy.lifetime.and_then(|lifetime| now.checked_add(lifetime)),
        }
    }

    /// Queues texts. They are sent at the rate that the venue allows.
    pub(crate) fn queue(&mut self, texts: Vec<String>) {
        self.outbox.extend(texts);
    }

    /// Waits for the next message. Cancel-safe.
    pub(crate) async fn hear(&mut self) -> Result<Received, Lost> {
        let heard = self.socket.recv().await?;
        self.heard = Instant::now();
        self.pinged = false;
        Ok(heard)
    }

    /// The time at which [`Self::due`] must be called next.
    pub(crate) fn next_deadline(&self) -> Instant {
        let send = (!self.outbox.is_empty()).then_some(self.send_at);
        let heartbeat = self.heard + self.policy.heartbeat / if self.pinged { 1 } else { 2 };
        [send, self.keepalive_at, self.ends]
            .into_iter()
            .flatten()
            .min()
            .map_or(heartbeat, |at| at.min(heartbeat))
    }

    /// Does what is due: sends, pings, or fails if the connection is dead or too old. Not cancel-safe.
    pub(crate) async fn due(&mut self, now: Instant) -> Result<(), Lost> {
        if self.ends.is_some_and(|ends| ends <= now) {
            return Err(Lost::Lifetime);
        }
        self.watch_heartbeat(now).await?;
        self.keep_alive(now);
        while self.send_at <= now
            && let Some(text) = self.outbox.pop_front()
        {
            self.send_at = now + self.policy.message_interval;
            in_time(self.socket.send_text(text)).await?;
        }
        Ok(())
    }

    async fn watch_heartbeat(&mut self, now: Instant) -> Result<(), Lost> {
        let silence = now.saturating_duration_since(self.heard);
        if silence >= self.policy.heartbeat {
            return Err(Lost::Silent(self.policy.heartbeat));
        }
        if silence >= self.policy.heartbeat / 2 && !self.pinged {
            self.pinged = true;
            self.send_at = self.send_at.max(now) + self.policy.message_interval;
            in_time(self.socket.ping()).await?;
        }
        Ok(())
    }

    fn keep_alive(&mut self, now: Instant) {
        if let (Some(at), Some(keepalive)) = (self.keepalive_at, self.policy.keepalive)
            && at <= now
        {
            self.outbox.push_front(keepalive.text.to_owned());
            self.keepalive_at = now.checked_add(keepalive.every);
        }
    }

    /// Moves the deadline of silence by the time for which we could not read the socket.
    pub(crate) fn excuse(&mut self, blocked: Duration) {
        self.heard += blocked;
    }

    /// Closes the connection, with a close frame if the other side still reads.
    pub(crate) async fn close(self) {
        drop(timeout(Duration::from_secs(1), self.socket.close()).await);
    }
}

async fn in_time(sending: impl Future<Output = Result<(), SocketError>>) -> Result<(), Lost> {
    Ok(timeout(SEND_TIMEOUT, sending).await.map_err(|_| Lost::Stuck)??)
}
