//! An execution environment: one process of a function, which takes one invocation at a time.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::function::Function;
use super::outcome::InvokeError;
use super::runtime_api::{Answer, RuntimeApi, Work};
use super::{ACCOUNT, REGION};
use crate::clock::wall_ms;
use crate::id;

/// How long the init phase may take ("Understanding the Lambda execution environment lifecycle", read 2026-11). Lambda would then try
/// again within the function's timeout; here the invocation fails.
const INIT: Duration = Duration::from_secs(10);

/// Gives a process a signal for when its parent dies, without unsafe code of ours. Where it is missing, a process that outlives a killed
/// simulator ends at its next call of the Runtime API, whose port is closed then.
const DEATH_SIGNAL: &str = "/usr/bin/setpriv";

/// A running process.
#[derive(Debug)]
pub(crate) struct Environment {
    function: String,
    started_at: Instant,
    api: Arc<RuntimeApi>,
    inbox: mpsc::Sender<Work>,
    /// Posts of the invocation under way, counted by its access key.
    posts: AtomicU32,
    terminate: CancellationToken,
    kill: CancellationToken,
    exited: CancellationToken,
    status: OnceLock<ExitStatus>,
}

impl Environment {
    /// Starts a process and waits for its init phase to end.
    pub(crate) async fn start(function: &Function, request_id: &str) -> Result<Arc<Self>, InvokeError> {
        let environment =
            Self::spawn(function).await.map_err(|why| InvokeError::not_started(request_id, &why))?;
        let initialized = tokio::select! {
            () = environment.api.initialized.cancelled() => Ok(()),
            () = environment.exited.cancelled() => Err(environment.init_failure(request_id)),
            () = tokio::time::sleep(INIT) => Err(InvokeError::timed_out(request_id, INIT)),
        };
        if let Err(failure) = initialized {
            environment.kill().await;
            return Err(failure);
        }
        function.stats().init_ms.add(environment.started_at.elapsed());
        Ok(environment)
    }

    async fn spawn(function: &Function) -> std::io::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (inbox, work) = mpsc::channel(1);
        let access_key = id::access_key();
        let child = command(function, &access_key, &listener.local_addr()?.to_string()).spawn()?;
        let environment = Arc::new(Self {
            function: function.name().to_owned(),
            started_at: Instant::now(),
            api: Arc::new(RuntimeApi::new(work)),
            inbox,
            posts: AtomicU32::new(0),
            terminate: CancellationToken::new(),
            kill: CancellationToken::new(),
            exited: CancellationToken::new(),
            status: OnceLock::new(),
        });
        function.fleet().lock().insert(access_key.clone(), environment.clone());
        function.stats().cold_starts.count();
        environment.clone().attend(function, child, listener, access_key);
        Ok(environment)
    }

    /// Serves the process its Runtime API, follows its output, and waits for its end.
    fn attend(
        self: Arc<Self>,
        function: &Function,
        mut child: Child,
        listener: TcpListener,
        access_key: String,
    ) {
        let log = function.log();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(log.clone().follow(self.function.clone(), stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log.clone().follow(self.function.clone(), stderr));
        }
        let fleet = function.fleet().clone();
        tokio::spawn(async move {
            let serving = tokio::spawn(axum::serve(listener, self.api.clone().router()).into_future());
            self.await_exit(child).await;
            serving.abort();
            fleet.lock().remove(&access_key);
            self.exited.cancel();
        });
    }

    /// Waits for the process to end, and passes signals on: only here, where it is not reaped yet, is its id surely its own.
    async fn await_exit(&self, mut child: Child) {
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let status = loop {
            let signal = tokio::select! {
                status = child.wait() => break status,
                () = self.kill.cancelled() => Signal::KILL,
                () = self.terminate.cancelled() => Signal::TERM,
            };
            if let Some(pid) = pid {
                // It fails only where the process has ended, which is what is waited for.
                let _ = kill_process(pid, signal);
            }
            if signal == Signal::KILL {
                break child.wait().await;
            }
            tokio::select! {
                status = child.wait() => break status,
                () = self.kill.cancelled() => {}
            }
        };
        if let Ok(status) = status {
            let _ = self.status.set(status);
        }
    }

    /// Has the process do an invocation, within the function's timeout; a process that exceeds it is killed.
    pub(crate) async fn invoke(&self, function: &Function, request_id: &str, payload: Bytes) -> Answer {
        let (timeout, begun) = (function.config().timeout(), Instant::now());
        self.posts.store(0, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let work = self.work(function, request_id, payload, reply);
        if self.inbox.send(work).await.is_err() {
            return Err(InvokeError::exited(request_id, self.status.get().copied()));
        }
        let answer = tokio::select! {
            biased;
            Ok(answer) = answer => answer,
            () = self.exited.cancelled() => Err(InvokeError::exited(request_id, self.status.get().copied())),
            () = tokio::time::sleep(timeout) => {
                function.stats().timeouts.count();
                self.kill().await;
                Err(InvokeError::timed_out(request_id, timeout))
            }
        };
        function.stats().duration_ms.add(begun.elapsed());
        answer
    }

    fn work(
        &self,
        function: &Function,
        request_id: &str,
        payload: Bytes,
        reply: oneshot::Sender<Answer>,
    ) -> Work {
        let now = wall_ms();
        Work {
            request_id: request_id.to_owned(),
            deadline_ms: now + function.config().timeout_ms,
            function_arn: format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.function),
            trace_id: id::trace_id(now),
            payload,
            reply,
        }
    }

    fn init_failure(&self, request_id: &str) -> InvokeError {
        let said = self.api.init_error.lock().take();
        said.map_or_else(
            || InvokeError::exited(request_id, self.status.get().copied()),
            InvokeError::Function,
        )
    }

    /// How long ago the process was started.
    pub(crate) fn age(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// The function that it runs.
    pub(crate) fn function(&self) -> &str {
        &self.function
    }

    /// Counts a post of the invocation under way, and says how many there are now.
    pub(crate) fn count_post(&self) -> u32 {
        self.posts.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether the process runs.
    pub(crate) fn is_alive(&self) -> bool {
        !self.exited.is_cancelled() && !self.kill.is_cancelled() && !self.terminate.is_cancelled()
    }

    /// Kills the process, and waits until it has ended.
    pub(crate) async fn kill(&self) {
        self.kill.cancel();
        self.exited.cancelled().await;
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        self.terminate.cancel();
    }

    /// Waits until the process has ended.
    pub(crate) async fn exited(&self) {
        self.exited.cancelled().await;
    }
}

/// The process with what Lambda sets ("Defined runtime environment variables", read 2026-11), the host's `PATH`, and the function's own.
fn command(function: &Function, access_key: &str, runtime_api: &str) -> Command {
    let config = function.config();
    let mut command = wrapped(&config.command);
    let path = std::env::vars_os().find(|(name, _)| name == "PATH");
    let handler = config.command.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
    command
        .env_clear()
        .envs(path)
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", runtime_api),
            ("AWS_LAMBDA_FUNCTION_NAME", function.name()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &config.memory_mb.to_string()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", function.name())),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "[$LATEST]"),
            ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", "not-verified"),
            ("AWS_SESSION_TOKEN", "not-verified"),
            ("_HANDLER", handler),
            ("LAMBDA_TASK_ROOT", task_root(&config.command)),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("TZ", ":UTC"),
            ("LANG", "en_US.UTF-8"),
        ])
        .envs(&config.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn wrapped(words: &[String]) -> Command {
    if Path::new(DEATH_SIGNAL).exists() {
        let mut command = Command::new(DEATH_SIGNAL);
        command.args(["--pdeathsig", "KILL", "--"]).args(words);
        return command;
    }
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1));
    command
}

fn task_root(words: &[String]) -> &str {
    words.first().and_then(|program| program.rsplit_once('/')).map_or(".", |(folder, _)| folder)
}
