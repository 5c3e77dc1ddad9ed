//! `bond listen`, as a user runs it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::Head;
use bond_e2e::process::{Process, binary, fresh_dir};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long an event may take, a restart and the longest wait of a few attempts included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ports that nobody listens to now, and that a server can have twice in a row.
fn free_ports() -> Result<[String; 2]> {
    let (one, two) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?.port().to_string(), two.local_addr()?.port().to_string()])
}

async fn up(dir: &Path, [rest, ws]: &[String; 2]) -> Result<Process> {
    let data = dir.to_string_lossy();
    let words = ["up", "--rest-port", rest, "--ws-port", ws, "--data-dir", &data];
    Ok(Process::start(dir.to_owned(), &words, &[]).await?.0)
}

/// A running `bond listen --json`, which ends with this value.
struct Listen {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Listen {
    fn start(rest: &str) -> Result<Self> {
        let url = format!("http://127.0.0.1:{rest}");
        let mut child = Command::new(binary())
            .args(["listen", "BTC trades tick by tick", "--json", "--url", &url])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { lines, child })
    }

    /// The epoch and number of the next event.
    async fn next(&mut self) -> Result<(String, u64)> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.context("no event came")??;
        let Some(line) = line else { anyhow::bail!("listen ended: {}", self.child.wait().await?) };
        let head = Head::read(&line)?;
        Ok((head.epoch.context("no epoch")?, head.seq.context("no number")?))
    }
}

#[tokio::test]
async fn listen_goes_on_when_bond_is_started_again() -> Result<()> {
    let (dir, ports) = (fresh_dir("listen")?, free_ports()?);
    let mut bond = up(&dir, &ports).await?;
    let mut listen = Listen::start(&ports[0])?;
    let (first, mut last) = listen.next().await?;
    for _ in 0..5 {
        let next = listen.next().await?;
        ensure!(next == (first.clone(), last + 1), "{next:?} after {last}");
        last += 1;
    }
    let (_, clean) = bond.terminate().await?;
    ensure!(clean, "exit code: {}", bond.log());
    let _bond = up(&dir, &ports).await?;
    let (mut epoch, mut seq) = listen.next().await?;
    while epoch == first {
        ensure!(seq == last + 1, "{seq} after {last}");
        last = seq;
        (epoch, seq) = listen.next().await?;
    }
    for _ in 0..5 {
        let next = listen.next().await?;
        ensure!(next == (epoch.clone(), seq + 1), "{next:?} after {seq}");
        seq += 1;
    }
    Ok(())
}
