//! Bond between a simulated venue and the client: its own command, with the venue's address replaced.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::client::TradeFields;
use crate::upgrade::Endpoint;

/// Where a flat event names its trade.
pub const FIELDS: TradeFields = TradeFields { market: "\"symbol\":\"", id: "\"trade_id\":\"" };

const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running `bond up`; ends with this value.
pub struct Bond {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
}

impl Bond {
    /// Starts Bond on a free port of loopback, with Binance at `venue_url`, and waits until it accepts connections. Its
    /// files are in a temporary folder that goes with it.
    ///
    /// # Errors
    /// It cannot be started, or is not ready in time.
    pub fn start(program: &Path, venue_url: &str) -> Result<Self> {
        let address = free_address()?;
        let data = std::env::temp_dir().join(format!("bond-bench-{}", std::process::id()));
        let child = Command::new(program)
            .args(["up", "--rest-port", "0", "--ws-port", &address.port().to_string()])
            .args(["--venue-url", &format!("binance={venue_url}")])
            .arg("--data-dir")
            .arg(&data)
            .env("BOND_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut bond = Self { child, address, data };
        bond.wait_until_ready()?;
        Ok(bond)
    }

    /// The feed of all streams, which takes a subscription.
    pub fn feed(&self) -> Endpoint {
        Endpoint { address: self.address, path: "/stream".to_owned(), offers_deflate: false }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("bond ended at once: {status}");
            }
            if start.elapsed() > READY_WITHIN {
                bail!("bond does not listen on {}", self.address);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A port that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The message that subscribes to the trades of these symbols at Binance.
pub fn subscription(symbols: &[String]) -> String {
    serde_json::json!({"type": "subscribe", "channels": ["trades"], "exchanges": ["binance"], "symbols": symbols})
        .to_string()
}
