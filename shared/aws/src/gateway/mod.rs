//! `@connections`: how messages reach clients behind API Gateway.
//!
//! Posts are signed and sent by ourselves; ending connections and asking for them, both rare, are the SDK's (`management`). The SDK's
//! `post_to_connection` does the same for about three times the CPU (2.8 to 3.8), and posting is nearly all that the fan-out does:
//!
//! | one post | CPU |
//! |---|---|
//! | own | 16–18 µs |
//! | `aws-sdk-apigatewaymanagement` 1.120, without retries | 46–68 µs |
//!
//! Measured on 2026-11-21 by `examples/posts.rs`: 300 bytes, 100 posts at once, by turns to one server on loopback, without TLS, six
//! runs on two shared cores.

mod bucket;
mod frame;
mod management;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use bond_core::connection::ConnectionId;
use bond_core::deliver::{Deliverer, Delivery, DeliveryCounts, Stop};
use bytes::Bytes;
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use self::bucket::Bucket;
use self::frame::Frame;
use self::management::Management;
use self::refusals::Refusals;
use crate::signed::{Answer, ClientError, SendError, Service, SignedHttp, path_segment, post};

/// The most bytes of one message: API Gateway takes a post of 128 KB, sends it to the client as frames of 32 KB, and bills each
/// (API Gateway quotas, read 2026-11).
pub const MESSAGE_BYTES: usize = 128 * 1024;

/// How long one request may take where no deadline says less.
const REQUEST: Duration = Duration::from_secs(10);

/// A [`Deliverer`] that posts to one WebSocket API. A clone shares its connections, credentials and rate.
///
/// It does not post through AWS's SDK, whose post takes 46–68 µs of CPU where this one takes 16–18 (2026-11-21, `examples/posts.rs`).
///
/// | answer | is |
/// |---|---|
/// | 200 | taken |
/// | 410 | [`Stop::Gone`] |
/// | 413 | [`Stop::TooLarge`]; also without asking, of a message above [`MESSAGE_BYTES`] |
/// | 429 | [`Stop::Slow`] or [`Stop::Quota`]: API Gateway does not say which. It is the quota where many connections are refused at about the same time |
/// | none by the deadline | [`Stop::Deadline`] |
/// | anything else | [`Stop::Failed`], and a line in the log |
///
/// A post waits for its turn in the process's rate; one whose turn would come after the deadline is not sent: [`Stop::Quota`].
#[derive(Clone)]
pub struct ApiGateway {
    shared: Arc<GatewayShared>,
    deadline: Option<Instant>,
    tally: Arc<Mutex<DeliveryCounts>>,
}

struct GatewayShared {
    http: SignedHttp,
    management: Management,
    base: String,
    bucket: Bucket,
    refusals: Refusals,
}

impl ApiGateway {
    pub(crate) fn new(
        config: &SdkConfig,
        callback_url: &str,
        posts_per_second: u32,
    ) -> Result<Self, ClientError> {
        let base = callback_url.trim_end_matches('/');
        let is_absolute = base.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
        if !is_absolute {
            return Err(ClientError::Url(callback_url.to_owned()));
        }
        let shared = GatewayShared {
            http: SignedHttp::new(config, Service::ApiGateway)?,
            management: Management::new(config, base),
            base: base.to_owned(),
            bucket: Bucket::new(posts_per_second),
            refusals: Refusals::default(),
        };
        Ok(Self { shared: Arc::new(shared), deadline: None, tally: Arc::default() })
    }

    /// The same, with every request ended at `deadline`, and none begun after it. It counts anew.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { shared: Arc::clone(&self.shared), deadline: Some(deadline), tally: Arc::default() }
    }

    async fn post(&self, connection: &ConnectionId, body: Bytes) -> Result<(), Stop> {
        let asked = Instant::now();
        if !self.shared.bucket.take(self.deadline()).await {
            return Err(Stop::Quota);
        }
        self.count(asked.elapsed());
        let answer = self.send(connection, body).await.map_err(|error| stop(connection, &error))?;
        self.judge(connection, &answer)
    }

    fn count(&self, waited: Duration) {
        let mut tally = self.tally.lock();
        tally.posts += 1;
        tally.waited += waited;
    }

    async fn send(&self, connection: &ConnectionId, body: Bytes) -> Result<Answer, SendError> {
        let url = format!("{}/@connections/{}", self.shared.base, path_segment(connection.as_str()));
        let uri = Uri::try_from(url).map_err(|error| SendError::Unsent(error.to_string()))?;
        self.shared.http.send(post(uri, body), self.deadline()).await
    }

    fn deadline(&self) -> Instant {
        let latest = Instant::now() + REQUEST;
        self.deadline.map_or(latest, |deadline| deadline.min(latest))
    }

    fn judge(&self, connection: &ConnectionId, answer: &Answer) -> Result<(), Stop> {
        match answer.status {
            StatusCode::OK => {
                self.shared.refusals.taken(Instant::now());
                Ok(())
            }
            StatusCode::GONE => Err(Stop::Gone),
            StatusCode::PAYLOAD_TOO_LARGE => Err(Stop::TooLarge),
            StatusCode::TOO_MANY_REQUESTS => Err(self.throttled(connection, answer)),
            _ => {
                report(connection, answer);
                Err(Stop::Failed)
            }
        }
    }

    /// `LimitExceededException` stands for both: "the client is sending more than the allowed number of requests per unit of time or
    /// the WebSocket client side buffer is full" (API reference of `PostToConnection`, read 2026-11).
    fn throttled(&self, connection: &ConnectionId, answer: &Answer) -> Stop {
        let by_account = matches!(answer.error_type(), "TooManyRequestsException" | "ThrottlingException");
        let many = self.shared.refusals.refused(connection, Instant::now());
        if by_account || many { Stop::Quota } else { Stop::Slow }
    }
}

#[async_trait]
impl Deliverer for ApiGateway {
    async fn deliver(&self, connection: &ConnectionId, messages: &[Bytes], batch: usize) -> Delivery {
        let mut taken = 0;
        while taken < messages.len() {
            let Some(Frame { body, count }) = Frame::first_of(&messages[taken..], batch) else {
                return Delivery { taken, stop: Some(Stop::TooLarge) };
            };
            if let Err(stop) = self.post(connection, body).await {
                return Delivery { taken, stop: Some(stop) };
            }
            taken += count;
        }
        Delivery { taken, stop: None }
    }

    async fn close(&self, connection: &ConnectionId) {
        if timeout_at(self.deadline(), self.shared.management.close(connection)).await.is_err() {
            tracing::warn!(%connection, "not closed in time");
        }
    }

    async fn is_open(&self, connection: &ConnectionId) -> Option<bool> {
        timeout_at(self.deadline(), self.shared.management.is_open(connection)).await.ok()?
    }

    fn tally(&self) -> DeliveryCounts {
        *self.tally.lock()
    }
}

fn stop(connection: &ConnectionId, error: &SendError) -> Stop {
    if matches!(error, SendError::Deadline) {
        return Stop::Deadline;
    }
    tracing::warn!(%connection, %error, "cannot post");
    Stop::Failed
}

fn report(connection: &ConnectionId, answer: &Answer) {
    let (status, error, text) = (answer.status.as_u16(), answer.error_type(), answer.text());
    if answer.status == StatusCode::FORBIDDEN {
        forbidden(connection, error, &text);
    } else {
        tracing::warn!(%connection, status, error, text, "refused by @connections");
    }
}

fn forbidden(connection: &ConnectionId, error: &str, text: &str) {
    tracing::error!(%connection, error, text, "not permitted: the role needs execute-api:ManageConnections");
}

#[cfg(test)]
mod tests;
