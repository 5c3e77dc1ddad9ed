//! `$default`: handles the messages of clients.
//!
//! The response of a route is one frame, which carries the first answer. Further answers (a subscription with several unknown names has an
//! error for each, and an `ack`) are stored in the connection's notes, and the relay sends them.

mod topics;

use std::sync::Arc;
use std::time::Instant;

use bond_api::authorizer::Checks;
use bond_core::code::Code;
use bond_core::connection::{Connection, ConnectionStore, Turn, UserLimits};
use bond_core::control::{Command, Control};
use bond_core::message::{ClientMessage, MessageError, Request, ServerMessage};
use bond_core::time::Clock;
use tracing::Instrument;

use crate::connect::text;
use crate::emf::{Emf, Metric};
use crate::event::{Answer, EventError, Origin, WebSocketEvent};
use crate::secrets::Vault;
use topics::Heard;

/// How many times a change is tried if other messages of the same connection change it at the same time.
const ATTEMPTS: usize = 5;

/// The most bytes of a message that is accepted. API Gateway passes on up to four times as many, in frames of this size.
const MESSAGE_BYTES: usize = 32 * 1024;

/// What a client is told that says more than it may.
const TOO_FAST: &str = "20 messages a second are taken";

/// The handler of `$default`.
pub struct Messages {
    /// The store of connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// The port by which commands reach the relay.
    pub control: Arc<dyn Control>,
    /// The limits of users over all connections.
    pub users: Arc<dyn UserLimits>,
    /// The keys, which check a refreshed token.
    pub vault: Vault,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub emf: Emf,
}

impl Messages {
    /// Handles one event.
    ///
    /// # Errors
    /// [`EventError`].
    pub async fn handle(&self, event: WebSocketEvent) -> Result<Answer, EventError> {
        let begun = Instant::now();
        let origin = Origin::of(&event)?;
        let request = read(&event);
        let said = self.answer(&origin, &request).instrument(origin.span("$default")).await;
        let failed = said.as_ref().is_err_and(|error| error.code == Code::InternalError);
        self.emf.write(
            origin.at,
            &[
                Metric::count("Messages", 1),
                Metric::share("ErrorPercent", failed),
                Metric::time("Duration", begun.elapsed()),
            ],
        );
        let echo = request.correlation_id.as_deref();
        Ok(Answer::saying(said.unwrap_or_else(|error| Some(text(&ServerMessage::error(&error, echo))))))
    }

    /// The immediate answer. An error concerns the whole message, and nothing has changed then.
    async fn answer(&self, origin: &Origin, request: &Request) -> Result<Option<String>, MessageError> {
        let mut allowances = None;
        for _ in 0..ATTEMPTS {
            let before = self.known(origin).await?;
            if before.is_dismissed() {
                return Ok(None);
            }
            let mut after = before.clone();
            if before.topics().is_some() {
                match self.say_topics(&mut after, origin, request, &mut allowances).await {
                    Heard::Unchanged(answer) => return Ok(answer),
                    Heard::Changed(answer) => match self.replace(&before, after).await {
                        Ok(true) => return Ok(answer),
                        Ok(false) => continue,
                        Err(error) => return Ok(Some(topics::error(error, self.clock.now(), request))),
                    },
                }
            }
            let mut answers = self.say(&mut after, origin, request).await?;
            let first = if answers.is_empty() { None } else { Some(answers.remove(0)) };
            after.notes = answers;
            if self.replace(&before, after).await? {
                return Ok(first);
            }
        }
        Err(MessageError::new(Code::ConnectionError, "too many messages at the same time: say it again"))
    }

    async fn known(&self, origin: &Origin) -> Result<Connection, MessageError> {
        let found = self.connections.get(&origin.connection, origin.at).await.map_err(unavailable)?;
        let advice = "this connection is not known, or over: connect again, with from={epoch}:{seq} to go on";
        found.ok_or_else(|| MessageError::new(Code::ConnectionError, advice))
    }

    /// Applies a request to a connection, and returns the answers in order.
    async fn say(
        &self,
        connection: &mut Connection,
        origin: &Origin,
        request: &Request,
    ) -> Result<Vec<String>, MessageError> {
        let turn = connection.admit(origin.at);
        connection.renew(origin.at);
        match turn {
            Turn::Taken => self.take(connection, origin, request).await,
            Turn::Refused => {
                let error = MessageError::new(Code::RateLimitExceeded, TOO_FAST);
                Ok(vec![text(&ServerMessage::error(&error, request.correlation_id.as_deref()))])
            }
            Turn::Unanswered => Ok(Vec::new()),
        }
    }

    async fn take(
        &self,
        connection: &mut Connection,
        origin: &Origin,
        request: &Request,
    ) -> Result<Vec<String>, MessageError> {
        // API Gateway answers most `ping` messages by a route of its own. Those whose route it does not recognise arrive here.
        if matches!(request.message, Ok(ClientMessage::Ping)) {
            let correlation_id = request.correlation_id.as_deref();
            return Ok(vec![text(&ServerMessage::Pong { ts: self.clock.now(), correlation_id })]);
        }
        connection.hear();
        let heard = match &request.message {
            Ok(message) => {
                self.obey(connection, message, origin).await.map(|errors| (message.name(), errors))
            }
            Err(error) => Err(error.clone()),
        };
        Ok(self.answers(connection, request, heard))
    }

    async fn obey(
        &self,
        connection: &mut Connection,
        message: &ClientMessage,
        origin: &Origin,
    ) -> Result<Vec<MessageError>, MessageError> {
        if let ClientMessage::Refresh { token } = message {
            self.refresh(connection, token).await?;
        }
        connection.take(message, origin.at)
    }

    /// The checks by the keys of the moment.
    async fn checks(&self) -> Result<Checks, MessageError> {
        let keyring = self.vault.keyring().await.map_err(unavailable)?;
        let (access, tokens) = (Arc::clone(&keyring.access), Arc::clone(&keyring.tokens));
        Ok(Checks { access, tokens, clock: Arc::clone(&self.clock) })
    }

    async fn refresh(&self, connection: &mut Connection, token: &str) -> Result<(), MessageError> {
        let checks = self.checks().await?;
        let granted = checks.refresh(connection.stream(), connection.holder.as_ref(), token);
        let grant = granted.map_err(|refusal| MessageError::new(refusal.code, refusal.message))?;
        (connection.expires_at, connection.holder) = (grant.expires_at, grant.holder);
        Ok(())
    }

    fn answers(
        &self,
        connection: &Connection,
        request: &Request,
        heard: Result<(&'static str, Vec<MessageError>), MessageError>,
    ) -> Vec<String> {
        let echo = request.correlation_id.as_deref();
        let error = |error: &MessageError| text(&ServerMessage::error(error, echo));
        match heard {
            Err(refused) => vec![error(&refused)],
            Ok((action, errors)) => {
                let mut answers: Vec<String> = errors.iter().map(error).collect();
                if connection.control || echo.is_some() {
                    let ts = self.clock.now();
                    answers.push(text(&ServerMessage::Ack { action, ts, correlation_id: echo }));
                }
                answers
            }
        }
    }

    /// Replaces the version of a connection by a new one made from it, and notifies the relay if the change concerns it.
    async fn replace(&self, before: &Connection, after: Connection) -> Result<bool, MessageError> {
        if !self.connections.replace(&after, before.asked_at).await.map_err(unavailable)? {
            return Ok(false);
        }
        if concerns_relay(before, &after)
            && let Err(error) = self.control.send(Command::Connected(Box::new(after))).await
        {
            tracing::warn!(%error, "relay not told; it finds the change by itself");
        }
        Ok(true)
    }
}

/// Whether a change concerns the relay. The count of a client's messages does not, unless the client is to be disconnected.
fn concerns_relay(before: &Connection, after: &Connection) -> bool {
    let &Connection { asked_at, pace, refused, .. } = before;
    after.is_dismissed() || Connection { asked_at, pace, refused, ..after.clone() } != *before
}

fn read(event: &WebSocketEvent) -> Request {
    match &event.body {
        Some(body) if body.len() > MESSAGE_BYTES => unread(MessageError::new(
            Code::TooLarge,
            format!("a message has {MESSAGE_BYTES} bytes at most: {}", body.len()),
        )),
        Some(body) if !event.is_base64_encoded => Request::parse(body),
        // API Gateway passes on binary frames in base64. Bond accepts only text.
        _ => unread(MessageError::new(Code::InvalidMessage, "text messages only")),
    }
}

fn unread(error: MessageError) -> Request {
    Request { correlation_id: None, message: Err(error) }
}

fn unavailable(error: impl std::fmt::Display) -> MessageError {
    tracing::error!(%error, "message not taken");
    MessageError::new(Code::InternalError, "the message could not be taken: say it again")
}
