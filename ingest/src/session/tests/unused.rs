//! Markets that nobody wants, and venues that nobody reaches.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(start_paused = true)]
async fn no_list_is_read_before_something_is_wanted_nor_while_nothing_is() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answers = move |_: &url::Url| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::from_static(b"BTC/USDT"))
    };
    let mut bench = Bench::with(Timing::default(), ContinuityRule::PlusOne, 256, answers);
    let day = Duration::from_secs(86_400);
    tokio::time::sleep(day).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    bench.want(&[trades(BTC)]);
    let peer = bench.accept().await;
    peer.say("trade BTC/USDT 1").await;
    bench.until(&trades(BTC), SourceState::Connected).await;
    bench.want(&[]);
    tokio::time::sleep(day).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    bench.want(&[trades(BTC)]);
    bench.accept().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "it is old by then");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Logged(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_venue_that_cannot_be_reached_is_one_line_for_all_its_markets_and_each_wait() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (outages, failures) = (Arc::default(), Arc::default());
    let benches = [(); 4].map(|()| Bench::unreachable(&outages, &failures));
    benches.iter().for_each(|bench| bench.want(&[trades(BTC)]));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let lines = String::from_utf8(logged.0.lock().clone()).expect("text").lines().count();
    let failures = failures.load(Ordering::SeqCst);
    assert!(failures > 40, "{failures}: each market has tried again");
    assert!(lines > 0 && lines < failures / 2, "{lines} lines for {failures} failures of four markets");
}
