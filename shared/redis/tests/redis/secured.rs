//! TLS and a password.
//!
//! Which roots are trusted is a setting of the process, `SSL_CERT_FILE`. The test therefore runs itself in a process of its own, with the
//! URL of the server in `BOND_TEST_REDIS_URL`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bond_core::log::EventLog;
use bond_core::secret::Secret;
use bond_redis::{Redis, RedisConfig};
use tokio::time::{Instant, sleep, timeout};

use crate::faults::{record, topic};
use crate::server::{Server, clock, log};

const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "tells the test from the process that it starts")]
fn inner_url() -> Option<String> {
    std::env::var("BOND_TEST_REDIS_URL").ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_a_password_are_asked_of_everyone() {
    if let Some(url) = inner_url() {
        return inside(url).await;
    }
    let dir = tempfile::tempdir().expect("a directory");
    certify(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let server = Server::launch(&[
        "--port",
        "0",
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        PASSWORD,
    ]);
    let itself = std::env::current_exe().expect("this binary");
    let inner = Command::new(itself)
        .args(["--exact", "secured::tls_and_a_password_are_asked_of_everyone", "--nocapture"])
        .env("SSL_CERT_FILE", &certificate)
        .env("BOND_TEST_REDIS_URL", server.url().replace("redis://127.0.0.1", "rediss://localhost"))
        .output()
        .expect("run itself");
    let said = String::from_utf8_lossy(&inner.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&inner.stderr));
}

async fn inside(url: String) {
    let config = |password: Option<&str>| RedisConfig {
        url: url.clone(),
        password: password.map(|text| Secret::new(text.to_owned())),
    };
    let redis = connect(&config(Some(PASSWORD))).await;
    let log = log(&redis, &clock());
    let mut tail = log.tail();
    tail.follow(topic("BTC"), None);
    let fence = log.acquire().await.expect("acquire");
    log.append(fence, &topic("BTC"), vec![record("a")]).await.expect("append");
    let mut runs = Vec::new();
    while runs.is_empty() {
        runs = timeout(PATIENCE, tail.next()).await.expect("news in time").expect("news").runs;
    }
    let shown = match Redis::connect(&config(Some("wrong one"))).await {
        Err(error) => error.to_string(),
        Ok(redis) => redis.ping().await.expect_err("a wrong password").to_string(),
    };
    assert!(!shown.contains("wrong one"), "{shown}");
    let plain = RedisConfig { url: url.replace("rediss:", "redis:"), ..config(Some(PASSWORD)) };
    assert!(Redis::connect(&plain).await.is_err(), "nothing goes without TLS");
}

/// Connects as soon as the server is up.
async fn connect(config: &RedisConfig) -> Redis {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Redis::connect(config).await {
            Ok(redis) => return redis,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Writes `cert.pem` and `key.pem` for localhost.
fn certify(dir: &Path) {
    let made = Command::new("openssl")
        .current_dir(dir)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
