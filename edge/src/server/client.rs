//! One client of the HTTP host, with a deadline for writes to its socket and one for each request.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use super::places::Occupant;

/// A write fails if the client takes no byte for this long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take after its head, including its body.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The address from which a request came: an extension of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A socket whose writes fail once the client has taken nothing for [`WRITE_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct HttpConnection {
    socket: TcpStream,
    /// The deadline of the write that waits, if one does.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl HttpConnection {
    pub(super) const fn new(socket: TcpStream) -> Self {
        Self { socket, deadline: None }
    }

    /// The socket, for a caller that takes it over.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.socket
    }

    /// The outcome of a write, or an error if it has waited for too long.
    fn within<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for HttpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for HttpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.within(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.within(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Adds to each request of a client its address and a deadline.
pub(super) struct Requests {
    router: TowerToHyperService<Router>,
    peer: Peer,
    occupant: Arc<Occupant>,
}

impl Requests {
    pub(super) fn new(router: Router, peer: Peer, occupant: Arc<Occupant>) -> Self {
        Self { router: TowerToHyperService::new(router), peer, occupant }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let served = Occupant::served(&self.occupant);
        let answer = self.router.call(request);
        Box::pin(async move {
            let answer = timeout(REQUEST_TIMEOUT, answer).await;
            drop(served);
            answer.unwrap_or_else(|_| Ok(too_late()))
        })
    }
}

fn too_late() -> Response<Body> {
    let headers = [(CONNECTION, "close")];
    (StatusCode::REQUEST_TIMEOUT, headers, "a request takes 30 s at most; send its body at once\n")
        .into_response()
}
