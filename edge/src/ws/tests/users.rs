//! Users who are disconnected, and clients that are silent.

use std::time::Duration;

use bond_core::clock::SystemClock;
use bond_core::revocation;
use bond_core::time::Clock;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;

use super::host::{Host, until};
use super::lifecycle::deaf_at;

/// Tells edges of a user, whose tokens are refused for so long.
async fn disconnect(host: &Host, user: &str, refused_for: Duration) {
    let now = SystemClock.now();
    let topic = revocation::topic_of(user).expect("a topic");
    let entry = [now.as_millis(), now.plus(refused_for).as_millis()];
    host.delta(topic.as_str(), &format!(r#"{{"{user}":[{},{}]}}"#, entry[0], entry[1])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connections_of_a_user_are_closed_and_nobody_elses() {
    let host = Host::start().await;
    disconnect(&host, "u9", Duration::ZERO).await;
    for refused_for in [Duration::ZERO, Duration::from_secs(3600)] {
        let mut of_user = [
            host.connect("/ws/trading/u1?token=user:u1").await,
            host.connect("/ws/market/X?token=user:u1").await,
        ];
        let mut other = host.connect("/ws/trading/u2?token=user:u2").await;
        let mut open = host.connect("/ws?topic=trading.u2").await;
        until(|| host.fanout.stats().connections == 4).await;
        disconnect(&host, "u1", refused_for).await;
        for client in &mut of_user {
            let (code, reason) = client.closed().await;
            assert_eq!(code, 4501);
            assert!(reason.starts_with("AUTH_INVALID: "), "{reason}");
        }
        assert!(other.is_quiet().await && open.is_quiet().await);
        drop((of_user, other, open));
        until(|| host.fanout.stats().connections == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_pings_stays_and_who_is_frozen_goes() {
    let host = Host::with(|config| config.limits.silence = Duration::from_millis(200)).await;
    let mut silent = host.connect("/ws/market/X?token=user:u1").await;
    let mut frozen = deaf_at(&host, "/ws/market/X?token=user:u1").await;
    let mut frames = Vec::new();
    // It is silent but for the pongs that its library sends as it reads.
    let mut pings = 0;
    tokio::select! {
        _ = frozen.read_to_end(&mut frames) => {}
        () = async { while let Message::Ping(_) = silent.frame().await { pings += 1; } } => panic!("no ping"),
    }
    assert!(frames.windows(2).any(|code| code == 4009_u16.to_be_bytes()), "{frames:?}");
    assert!(pings >= 2);
    // At once: who is not read answers no ping.
    host.delta("prices.X", "1").await;
    silent.next_of("delta").await;
}
