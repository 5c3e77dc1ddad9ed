//! A `bond` process, started on free ports and ended with the test.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::plant::{NAMES, PLANT, doors_in};

pub use crate::api::ws_url;

/// How long a process may take to serve.
pub(crate) const START: Duration = Duration::from_secs(30);

/// A running process of ours, which ends with this value.
pub struct Process {
    pub(crate) child: Child,
    pub(crate) dir: PathBuf,
    /// Where it answers HTTP.
    pub(crate) doors: Vec<String>,
}

/// A running `bond broker`.
pub struct Broker {
    /// Its process.
    pub process: Process,
    /// The WebSocket base URL.
    pub ws: String,
}

/// A running `bond up` or `bond edge`.
pub struct Bond {
    process: Process,
    api: Api,
    /// The WebSocket base URL.
    pub ws: String,
    /// Its data directory.
    pub data_dir: PathBuf,
}

/// The `bond` binary: `BOND_BINARY`, else the one built beside this test.
#[allow(clippy::disallowed_methods, reason = "tests are told by the environment which binary to start")]
pub fn binary() -> PathBuf {
    if let Ok(path) = std::env::var("BOND_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new(".")).join("bond")
}

/// A directory of this test's own, under the build directory.
///
/// # Errors
/// Where it cannot be made.
pub fn fresh_dir(name: &str) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let base = binary().parent().map(Path::to_path_buf).unwrap_or_default();
    let dir = base.join("e2e").join(format!("{}-{number}-{name}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

impl Bond {
    /// Starts `bond up` with further arguments and environment variables, and waits until it serves.
    ///
    /// # Errors
    /// Where it does not start; the message has the end of its log.
    pub async fn up(arguments: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        Self::up_in(fresh_dir("up")?, arguments, settings).await
    }

    /// As [`Bond::up`], with a data directory that may hold streams already.
    ///
    /// # Errors
    /// As [`Bond::up`].
    pub async fn up_in(data_dir: PathBuf, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        Self::start("up", data_dir, arguments, settings).await
    }

    /// Starts `bond edge` on this Redis, and waits until it serves.
    ///
    /// # Errors
    /// As [`Bond::up`].
    pub async fn edge(redis: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Self::edge_in(fresh_dir("edge")?, redis, settings).await
    }

    /// As [`Bond::edge`], with a data directory that may hold keys already.
    ///
    /// # Errors
    /// As [`Bond::up`].
    pub async fn edge_in(data_dir: PathBuf, redis: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start("edge", data_dir, &["--redis", redis], settings).await
    }

    async fn start(
        command: &str,
        data_dir: PathBuf,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let dir = data_dir.to_string_lossy().into_owned();
        let mut words = vec![command, "--rest-port", "0", "--ws-port", "0", "--data-dir", dir.as_str()];
        words.extend(arguments);
        let (process, banner) = Process::start(data_dir.clone(), &words, settings).await?;
        let (api, ws) = (Api::open(url_in(&banner, "http://")?)?, url_in(&banner, "ws://")?);
        Ok(Self { process, api, ws, data_dir })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024)
    }

    /// Waits until it says that it can do all its work: somebody ingests, and log and registry answer.
    ///
    /// # Errors
    /// Where that does not come.
    pub async fn is_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            match self.api.get("/ready").await? {
                (200, _) => return Ok(()),
                (_, answer) if Instant::now() > deadline => bail!("not ready: {answer}\n{}", self.log()),
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Sends it a signal, such as `STOP` or `KILL`.
    ///
    /// # Errors
    /// Where it has ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        self.process.signal(name).await
    }

    /// Sends SIGTERM and waits for the end. Returns how long that took and whether the exit code was 0.
    ///
    /// # Errors
    /// Where it does not end within 20 s.
    pub async fn terminate(&mut self) -> Result<(Duration, bool)> {
        self.process.terminate().await
    }

    /// The process itself.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it is told so that tests can have its tasks panic: to be among the settings that it starts with.
    pub fn planted_in(data_dir: &Path) -> String {
        data_dir.join(PLANT).to_string_lossy().into_owned()
    }
}

impl Broker {
    /// Starts `bond broker` on a Redis, with further environment variables, and waits until it serves.
    ///
    /// # Errors
    /// Where it does not start; the message has the end of its log.
    pub async fn start(redis: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let words = ["broker", "--port", "0", "--redis", redis];
        let (process, banner) = Process::start(fresh_dir("broker")?, &words, settings).await?;
        let ws = url_in(&banner, "ws://")?.trim_end_matches("/ws/{id}").to_owned();
        Ok(Self { process, ws })
    }
}

impl Process {
    /// Starts `bond` with these arguments and environment variables, and waits until it serves. Returns what it then said too.
    ///
    /// # Errors
    /// Where it does not start; the message has the end of its log.
    pub async fn start(
        dir: PathBuf,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<(Self, String)> {
        Self::start_binary(&binary(), dir, arguments, settings).await
    }

    /// As [`Process::start`], with another binary that takes `--ready-file`.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn start_binary(
        binary: &Path,
        dir: PathBuf,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<(Self, String)> {
        let ready = dir.join("ready");
        let _ = std::fs::remove_file(&ready);
        let _ = std::fs::remove_file(dir.join(NAMES));
        let log = std::fs::File::options().create(true).append(true).open(dir.join("bond.log"))?;
        let child = Command::new(binary)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .envs(settings.iter().copied())
            // Looking for symbols takes longer than the end of a process may.
            .env("RUST_BACKTRACE", "0")
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started; build it first", binary.display()))?;
        let mut process = Self { child, dir, doors: Vec::new() };
        let banner = process.await_ready(&ready).await?;
        process.doors = doors_in(&banner);
        Ok((process, banner))
    }

    async fn await_ready(&mut self, ready: &Path) -> Result<String> {
        let deadline = Instant::now() + START;
        loop {
            match std::fs::read_to_string(ready) {
                Ok(banner) if !banner.is_empty() => return Ok(banner),
                _ if self.child.try_wait()?.is_some() => bail!("bond ended at once:\n{}", self.log()),
                _ if Instant::now() > deadline => bail!("bond does not serve:\n{}", self.log()),
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("bond.log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Sends a signal by name, such as `STOP`.
    ///
    /// # Errors
    /// Where it has ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().await?;
        if sent.success() { Ok(()) } else { bail!("process {} cannot be sent {name}", self.pid()) }
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// Where it cannot be ended.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends SIGTERM and waits for the end. Returns how long that took and whether the exit code was 0.
    ///
    /// # Errors
    /// Where it does not end within 20 s.
    pub async fn terminate(&mut self) -> Result<(Duration, bool)> {
        let begun = Instant::now();
        self.signal("TERM").await?;
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await??;
        Ok((begun.elapsed(), status.success()))
    }
}

impl Deref for Bond {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

pub(crate) fn url_in(banner: &str, scheme: &str) -> Result<String> {
    let words = banner.split_whitespace();
    let url = words.into_iter().find(|word| word.starts_with(scheme)).context("no URL in the banner")?;
    Ok(url.trim_end_matches('/').to_owned())
}
