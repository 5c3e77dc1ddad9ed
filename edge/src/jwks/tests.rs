//! An issuer's server, and what is asked of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bond_api::jwt::{ClaimRules, JwtError};
use bond_core::grants::Grants;
use bond_core::time::UnixNanos;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use url::Url;

use super::*;

const NOW: UnixNanos = UnixNanos::from_secs(1_800_000_000);

/// A key of Ed25519, and a token that the key signed with `kid`, for ever good. Both were made once with Python's `cryptography`.
const SET: &str = include_str!("tests/jwks.json");
const TOKEN: &str = include_str!("tests/token.txt");

/// What the server answers, and how often it was asked.
#[derive(Default)]
struct Server {
    answer: Mutex<Option<Response>>,
    text: Mutex<String>,
    asked: AtomicUsize,
}

impl Server {
    async fn start(text: &str) -> (Arc<Self>, Option<JwksSource>) {
        let server = Arc::new(Self { text: Mutex::new(text.to_owned()), ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let answering = Arc::clone(&server);
        let answer = move || {
            answering.asked.fetch_add(1, Ordering::SeqCst);
            let once = answering.answer.lock().take();
            let answer = once.unwrap_or_else(|| answering.text.lock().clone().into_response());
            async { answer }
        };
        let router = Router::new().route("/jwks", get(answer));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, Some(JwksSource::Url(Url::parse(&url).expect("a URL"))))
    }

    fn says(&self, text: &str) {
        text.clone_into(&mut self.text.lock());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn verifier() -> Arc<TokenVerifier> {
    Arc::new(TokenVerifier::new(&[], ClaimRules::default()))
}

fn verified(verifier: &TokenVerifier) -> Result<Grants, JwtError> {
    verifier.verify(TOKEN.trim(), NOW)
}

#[tokio::test]
async fn the_set_is_there_from_the_start_and_the_last_good_one_is_kept() {
    let (server, source) = Server::start(SET).await;
    let verifier = verifier();
    let mut jwks = Jwks::open(source, Arc::clone(&verifier)).await.expect("a client");
    assert!(verified(&verifier).is_ok());
    for text in ["", "{", r#"{"keys":[]}"#, &format!("{SET}{}", " ".repeat(MAX_BYTES))] {
        server.says(text);
        jwks.refresh().await;
        assert!(verified(&verifier).is_ok());
    }
    for answer in [StatusCode::INTERNAL_SERVER_ERROR.into_response(), Redirect::to("/jwks").into_response()] {
        server.says(SET);
        *server.answer.lock() = Some(answer);
        let refused = jwks.read().await.expect_err("no set").to_string();
        assert!(refused.contains("cannot fetch the JWK set: http status"), "{refused}");
    }
    assert_eq!(server.asked(), 7, "a redirect is not followed");
    jwks.refresh().await;
    assert_eq!((jwks.failures, server.asked()), (0, 8));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_has_the_set_read_once_in_ten_seconds() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, SET.replace("\"k1\"", "\"k0\"")).expect("written");
    let verifier = verifier();
    let jwks =
        Jwks::open(Some(JwksSource::File(path.clone())), Arc::clone(&verifier)).await.expect("a client");
    let stop = CancellationToken::new();
    let looking = async {
        assert_eq!(verified(&verifier), Err(JwtError::UnknownKey));
        std::fs::write(&path, SET).expect("written");
        sleep(PAUSE - Duration::from_millis(10)).await;
        assert_eq!(verified(&verifier), Err(JwtError::UnknownKey), "within the pause it is left alone");
        sleep(Duration::from_millis(20)).await;
        assert!(verified(&verifier).is_ok());
        std::fs::write(&path, SET.replace("\"k1\"", "\"k0\"")).expect("written");
        sleep(EVERY - Duration::from_secs(30)).await;
        assert!(verified(&verifier).is_ok(), "nobody asked for another");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(verified(&verifier), Err(JwtError::UnknownKey), "read again after ten minutes");
        stop.cancel();
    };
    tokio::join!(jwks.follow(stop.clone()), looking);
}

#[tokio::test]
async fn what_cannot_be_read_is_read_again_soon_and_then_ever_later() {
    let verifier = verifier();
    let missing = Some(JwksSource::File("/nonexistent/jwks.json".into()));
    let mut jwks = Jwks::open(missing, Arc::clone(&verifier)).await.expect("a client");
    let mut waits = Vec::new();
    for _ in 0..9 {
        waits.push((PAUSE + jwks.rest()).as_secs());
        jwks.refresh().await;
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(verified(&verifier), Err(JwtError::NoKey("EdDSA")));
}
