//! A user's own WebSocket as a source: its messages, mapped, become custom events.
//!
//! Bounds: a message may have [`MAX_MESSAGE_BYTES`]; a longer one ends the connection, which is made again after a backoff. At most
//! [`MAX_PER_SECOND`] messages are read per second; then reading pauses until the second is over, so that the sender has to wait and
//! nothing is dropped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use blake2::digest::consts::U4;
use blake2::{Blake2b, Digest};
use bond_core::event::Custom;
use bond_core::source::SourceState;
use bond_core::spec::FieldMap;
use bond_core::time::Clock;
use bond_supervise::owned;
use futures_util::FutureExt;
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::mapping::map;
use crate::net::guard::Guard;
use crate::report::{Report, SocketId};
use crate::session::link::{Link, LinkPolicy, Lost};
use crate::session::{Network, Received, Transport};
use bond_core::backoff::{Backoff, BackoffPolicy};

/// The most bytes of a message.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// The most messages that are read per second.
pub const MAX_PER_SECOND: u32 = 1_000;

/// A source that has not given a value for this long since it was started is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3600);

/// The reason in the status of a source that was given up.
const NEVER_GAVE: &str = "no value within an hour; create the stream again to try on";

/// The most characters of a reason in a status, since a reason may contain the other side's text.
const MAX_REASON_CHARS: usize = 200;

/// The name of a source's task.
const TASK: &str = "own-socket";

/// How long a source waits before it starts again after a panic outside a connection.
const MENDED_AFTER: Duration = Duration::from_millis(500);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A user's source.
#[derive(Debug, Clone)]
pub struct CustomConfig {
    /// Identifies the source in reports.
    pub id: SocketId,
    /// Where to connect to.
    pub url: Url,
    /// Where the value and the time stand in a message. Without a pointer, the whole message is the value.
    pub map: FieldMap,
    /// Whether the operator allows addresses outside the public internet.
    pub allow_private: bool,
    /// Waits between attempts to connect.
    pub backoff: BackoffPolicy,
}

/// The public name of a source: the URL's host and a digest, which distinguishes sources on the same host. The rest of the URL may contain
/// secrets.
pub fn source_name(url: &str) -> SmolStr {
    let digest = u32::from_be_bytes(Blake2b::<U4>::digest(url).into());
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default();
    format_smolstr!("{host}#{digest:08x}")
}

/// Starts a source, which reports until `cancel`. At every attempt, the address is checked before it is connected to.
pub fn spawn(
    config: CustomConfig,
    network: &Network,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> JoinHandle<()> {
    let guard = if config.allow_private { Guard::AllowAll } else { Guard::PublicOnly };
    spawn_over(config, network.guarded(guard, MAX_MESSAGE_BYTES), reports, clock, cancel)
}

fn spawn_over<T: Transport>(
    config: CustomConfig,
    transport: T,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
) -> JoinHandle<()> {
    let name = source_name(config.url.as_str());
    let source = Source { name, config, transport, reports, clock, state: None, has_given: false };
    #[expect(clippy::disallowed_methods, reason = "it mends itself, and its end is one user's alone")]
    tokio::spawn(async move {
        cancel.run_until_cancelled(source.run()).await;
    })
}

/// How a connection ended.
enum Ended {
    /// No connection was made.
    Unreachable(Lost),
    /// The connection was made and lost.
    Lost(Lost),
}

impl Ended {
    /// The reason that clients see. A user who names an address must not learn from us what answers there. Therefore the reason why no
    /// connection was made appears only in the operator's log, at the finest level.
    fn shown(&self) -> String {
        match self {
            Self::Unreachable(lost) => {
                tracing::debug!(%lost, "custom source not reached");
                "unreachable".to_owned()
            }
            Self::Lost(lost) => lost.to_string().chars().take(MAX_REASON_CHARS).collect(),
        }
    }
}

/// The receiver of reports is closed.
#[derive(Debug)]
struct NobodyListens;

struct Source<T> {
    name: SmolStr,
    config: CustomConfig,
    transport: T,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    state: Option<SourceState>,
    /// Whether any message had a value.
    has_given: bool,
}

impl<T: Transport> Source<T> {
    /// Runs [`Source::try_run`], and starts it again after a panic: a panic in one user's source must not end the process.
    async fn run(mut self) {
        while AssertUnwindSafe(owned(TASK, self.try_run())).catch_unwind().await.is_err() {
            tracing::error!(source = %self.name, "custom source panicked, beginning anew after a wait");
            sleep(MENDED_AFTER).await;
        }
    }

    /// Connects again and again. Returns if nobody receives the reports, or if the source was given up.
    async fn try_run(&mut self) -> Result<(), NobodyListens> {
        let began = Instant::now();
        let mut backoff = Backoff::new(self.config.backoff);
        self.report_state(SourceState::Connecting, "first attempt").await?;
        loop {
            // If a message causes a panic, only this connection ends, not the source.
            let attempt = AssertUnwindSafe(self.attempt(&mut backoff, began + GIVEN_UP_AFTER));
            let lost = attempt.catch_unwind().await.unwrap_or(Ok(Ended::Lost(Lost::Panicked)))?;
            let wait = backoff.fail(rand::random());
            let reason = lost.shown();
            tracing::warn!(source = %self.name, %reason, failures = backoff.failures(), wait_ms = wait.as_millis(),
                "custom source lost, connecting again after a wait");
            let state = if backoff.has_failed() { SourceState::Failed } else { SourceState::Reconnecting };
            self.report_state(state, &reason).await?;
            sleep(wait).await;
            if !self.has_given && began.elapsed() >= GIVEN_UP_AFTER {
                return self.report_state(SourceState::Unavailable, NEVER_GAVE).await;
            }
        }
    }

    /// Makes one connection and reads it until it ends. It is ended at `until` if the source has never given a value.
    async fn attempt(&mut self, backoff: &mut Backoff, until: Instant) -> Result<Ended, NobodyListens> {
        match self.connect().await {
            Ok(link) => Ok(Ended::Lost(self.listen(link, backoff, until).await?)),
            Err(lost) => Ok(Ended::Unreachable(lost)),
        }
    }

    async fn connect(&self) -> Result<Link<T::Socket>, Lost> {
        let connecting = timeout(CONNECT_TIMEOUT, self.transport.connect(&self.config.url)).await;
        let socket = connecting.map_err(|_| Lost::ConnectTimeout(CONNECT_TIMEOUT))??;
        let policy = LinkPolicy {
            heartbeat: HEARTBEAT,
            message_interval: Duration::ZERO,
            keepalive: None,
            lifetime: None,
        };
        Ok(Link::new(socket, policy, Instant::now()))
    }

    async fn listen(
        &mut self,
        mut link: Link<T::Socket>,
        backoff: &mut Backoff,
        until: Instant,
    ) -> Result<Lost, NobodyListens> {
        let mut rate = Rate::new(Instant::now());
        loop {
            if !self.has_given && Instant::now() >= until {
                return Ok(Lost::Silent(GIVEN_UP_AFTER));
            }
            let deadline = link.next_deadline();
            tokio::select! {
                heard = link.hear() => match heard {
                    Ok(Received::Text(text)) => {
                        let heard = Instant::now();
                        self.take(&text, backoff).await?;
                        rate.take(Instant::now()).await;
                        link.excuse(heard.elapsed());
                    }
                    Ok(Received::Control) => {}
                    Err(lost) => return Ok(lost),
                },
                () = sleep_until(deadline) => {}
            }
            if let Err(lost) = link.due(Instant::now()).await {
                return Ok(lost);
            }
        }
    }

    async fn take(&mut self, text: &str, backoff: &mut Backoff) -> Result<(), NobodyListens> {
        let Some(mapped) = map(text, &self.config.map) else {
            let at = self.config.map.value.as_deref().unwrap_or_default();
            return self
                .report_state(SourceState::Stale, &format!("a message without a value at '{at}'"))
                .await;
        };
        backoff.reset();
        self.has_given = true;
        self.report_state(SourceState::Connected, "data flow").await?;
        let event = Custom {
            source: self.name.clone(),
            symbol: None,
            value: mapped.value,
            ts_event: self.clock.now(),
            ts_exchange: mapped.time,
        };
        self.report(Report::Custom { socket: self.config.id, event }).await
    }

    async fn report_state(&mut self, state: SourceState, reason: &str) -> Result<(), NobodyListens> {
        if self.state.replace(state) == Some(state) {
            return Ok(());
        }
        let (source, since, reason) = (self.name.clone(), self.clock.now(), reason.into());
        self.report(Report::Socket { socket: self.config.id, source, state, since, reason }).await
    }

    async fn report(&self, report: Report) -> Result<(), NobodyListens> {
        self.reports.send(report).await.map_err(|_| NobodyListens)
    }
}

/// Counts the messages of the current second.
struct Rate {
    ends: Instant,
    taken: u32,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { ends: now + Duration::from_secs(1), taken: 0 }
    }

    /// Counts a message. If it is the last one allowed in this second, waits until the second is over.
    async fn take(&mut self, now: Instant) {
        if now >= self.ends {
            *self = Self::new(now);
        }
        self.taken += 1;
        if self.taken == MAX_PER_SECOND {
            sleep_until(self.ends).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bond_core::time::{ManualClock, UnixNanos};
    use futures_util::SinkExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::{WebSocketStream, accept_async};

    use super::*;

    const SOON: BackoffPolicy =
        BackoffPolicy { first: Duration::from_millis(1), most: Duration::from_millis(5), failed_after: 10 };

    struct Server {
        listener: TcpListener,
        reports: mpsc::Receiver<Report>,
        _cancel: tokio_util::sync::DropGuard,
    }

    async fn server(allow_private: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ws://{}/feed?key=secret", listener.local_addr().unwrap())).unwrap();
        let map = FieldMap { value: Some("/p".into()), ts: Some("/T".into()) };
        let (reports_tx, reports) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(9)));
        let config = CustomConfig { id: SocketId(1), url, map, allow_private, backoff: SOON };
        spawn(config, &Network::new().unwrap(), reports_tx, clock, cancel.clone());
        Server { listener, reports, _cancel: cancel.drop_guard() }
    }

    impl Server {
        async fn accept(&self) -> WebSocketStream<TcpStream> {
            accept_async(self.listener.accept().await.unwrap().0).await.unwrap()
        }

        async fn until(&mut self, wanted: SourceState) -> String {
            loop {
                match self.reports.recv().await.unwrap() {
                    Report::Socket { state, reason, source, .. } if state == wanted => {
                        assert!(!source.contains("secret"), "{source}");
                        return reason.to_string();
                    }
                    _ => {}
                }
            }
        }

        async fn event(&mut self) -> Custom {
            loop {
                if let Report::Custom { event, .. } = self.reports.recv().await.unwrap() {
                    return event;
                }
            }
        }
    }

    #[tokio::test]
    async fn messages_become_events_and_a_lost_source_comes_back() {
        let mut server = server(true).await;
        let mut socket = server.accept().await;
        socket.send(Message::text(r#"{"p": 1.50, "T": 1700000000000}"#)).await.unwrap();
        server.until(SourceState::Connected).await;
        let event = server.event().await;
        assert_eq!((event.value.as_str(), event.ts_event), ("1.50", UnixNanos::from_secs(9)));
        assert_eq!(event.ts_exchange, Some(UnixNanos::from_secs(1_700_000_000)));
        drop(socket);
        server.until(SourceState::Reconnecting).await;
        let mut socket = server.accept().await;
        socket.send(Message::text(r#"{"q": 2}"#)).await.unwrap();
        assert_eq!(server.until(SourceState::Stale).await, "a message without a value at '/p'");
        socket.send(Message::text(r#"{"p": "up"}"#)).await.unwrap();
        server.until(SourceState::Connected).await;
        assert_eq!(server.event().await.value, "\"up\"");
    }

    #[tokio::test]
    async fn a_message_beyond_the_bound_costs_the_connection() {
        let mut server = server(true).await;
        let mut socket = server.accept().await;
        drop(socket.send(Message::text(" ".repeat(MAX_MESSAGE_BYTES + 1))).await);
        let reason = server.until(SourceState::Reconnecting).await;
        assert!(reason.starts_with("unacceptable message"), "{reason}");
    }

    #[tokio::test]
    async fn loopback_is_not_connected_to_unless_allowed() {
        let mut server = server(false).await;
        assert_eq!(server.until(SourceState::Failed).await, "unreachable", "as where nothing listens");
    }

    #[tokio::test(start_paused = true)]
    async fn reading_pauses_when_a_second_is_full() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        for _ in 0..MAX_PER_SECOND * 2 + 1 {
            rate.take(Instant::now()).await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
