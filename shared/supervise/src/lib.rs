//! Who watches what must run: no task or thread of a process ends unseen.
//!
//! A [`Supervisor`] is one per process, and everybody who starts something that has to run on gets a clone of it. What ends although nobody told it to
//! is a [`Death`]: the process says so in `/ready` and ends with an error, so that whoever started it starts it anew, and clients resume.
//! Tasks that are meant to end by themselves (a request, a post) are not watched; what they hold is given back by `Drop`. Nor are those
//! whose owner notices their panic, and begins them anew or panics too: they run in [`owned`]. A bare spawn is refused by clippy, unless its place says whose the task is.

#[cfg(feature = "plant")]
mod plant;

use std::io;
use std::sync::Arc;
use std::thread;

use smol_str::SmolStr;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Something that had to run on and has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} has {how}; the process cannot go on without it")]
pub struct Death {
    /// What ended: the name it was started by.
    pub name: SmolStr,
    /// Whether it panicked or returned.
    pub how: &'static str,
}

/// Watches over the tasks and threads of one process. A clone is another handle on the same one.
#[derive(Clone, Debug)]
pub struct Supervisor {
    first: Arc<watch::Sender<Option<Death>>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { first: Arc::new(watch::Sender::new(None)) }
    }
}

impl Supervisor {
    /// Starts a task of the current runtime that must run until `stop` is cancelled.
    pub fn spawn<F>(
        &self,
        name: impl Into<SmolStr>,
        stop: &CancellationToken,
        task: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        self.spawn_on(&Handle::current(), name, stop, task)
    }

    /// As [`Supervisor::spawn`], on another runtime.
    #[expect(clippy::disallowed_methods, reason = "it is watched here")]
    pub fn spawn_on<F>(
        &self,
        runtime: &Handle,
        name: impl Into<SmolStr>,
        stop: &CancellationToken,
        task: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let watch = self.watch(name, stop);
        runtime.spawn(async move {
            #[cfg(feature = "plant")]
            let task = plant::around(watch.name.clone(), task);
            let output = task.await;
            drop(watch);
            output
        })
    }

    /// Starts a thread that must run until `stop` is cancelled. It asks [`Watch::check`] each time round its loop.
    ///
    /// # Errors
    /// Where the system gives no thread.
    #[expect(clippy::disallowed_methods, reason = "it is watched here")]
    pub fn thread(
        &self,
        name: impl Into<SmolStr>,
        stop: &CancellationToken,
        work: impl FnOnce(&Watch) + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let watch = self.watch(name, stop);
        thread::Builder::new().name(watch.name.to_string()).spawn(move || work(&watch))
    }

    /// Watches over something that holds the returned value for as long as it lives.
    pub fn watch(&self, name: impl Into<SmolStr>, stop: &CancellationToken) -> Watch {
        let name = name.into();
        #[cfg(feature = "plant")]
        plant::tell("watched", &name);
        Watch { name, stop: stop.clone(), supervisor: self.clone() }
    }

    /// What died first, if anything did: for `/ready`.
    pub fn death(&self) -> Option<Death> {
        self.first.borrow().clone()
    }

    /// Waits until something has died. Cancel-safe.
    pub async fn died(&self) -> Death {
        let mut first = self.first.subscribe();
        loop {
            if let Some(death) = first.borrow_and_update().clone() {
                return death;
            }
            // `self` holds the sender, so this waits for a death.
            let _ = first.changed().await;
        }
    }

    /// Notes that something has died, for those who notice it by other means than a [`Watch`].
    pub fn note(&self, death: Death) {
        tracing::error!(name = %death.name, "{death}");
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(death);
            is_first
        });
    }
}

/// Held by what is watched. Where it is dropped before its end was asked for, that is a death.
#[derive(Debug)]
pub struct Watch {
    name: SmolStr,
    stop: CancellationToken,
    supervisor: Supervisor,
}

impl Watch {
    /// Where tests plant panics: once each time round the loop of what is watched. Otherwise nothing.
    pub fn check(&self) {
        #[cfg(feature = "plant")]
        plant::check(&self.name);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let how = if thread::panicking() { "panicked" } else { "ended" };
        if how == "panicked" || !self.stop.is_cancelled() {
            self.supervisor.note(Death { name: self.name.clone(), how });
        }
    }
}

/// Runs `task`, whose owner takes note of its panic: begins it anew, or panics too. Tests plant that panic by `name`; otherwise this is
/// `task` itself.
pub async fn owned<F: Future>(name: impl Into<SmolStr>, task: F) -> F::Output {
    #[cfg(feature = "plant")]
    {
        let name = name.into();
        plant::tell("owned", &name);
        plant::around(name, task).await
    }
    #[cfg(not(feature = "plant"))]
    {
        let _ = name;
        task.await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn what_ends_unasked_is_a_death() {
        let supervisor = Supervisor::default();
        supervisor.spawn("returns", &CancellationToken::new(), async {});
        assert_eq!(supervisor.died().await, Death { name: "returns".into(), how: "ended" });
        supervisor.spawn("later", &CancellationToken::new(), async {}).await.expect("ends");
        assert_eq!(supervisor.death().expect("a death").name, "returns", "the first is told");
    }

    #[tokio::test]
    async fn a_panic_is_a_death_whatever_was_asked() {
        let supervisor = Supervisor::default();
        let stop = CancellationToken::new();
        stop.cancel();
        supervisor.spawn("panics", &stop, async { panic!("planned") });
        assert_eq!(supervisor.died().await.how, "panicked");
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_unasked_is_a_death() {
        let supervisor = Supervisor::default();
        supervisor.spawn("aborted", &CancellationToken::new(), pending::<()>()).abort();
        assert_eq!(supervisor.died().await.name, "aborted");
    }

    #[tokio::test]
    async fn an_end_that_was_asked_for_is_none() {
        let supervisor = Supervisor::default();
        let stop = CancellationToken::new();
        let ends = stop.clone();
        let task = supervisor.spawn("stops", &stop, async move { ends.cancelled().await });
        let thread = supervisor.thread("works", &stop, Watch::check).expect("a thread");
        stop.cancel();
        task.await.expect("ends");
        // The thread may have ended before the cancellation; only the task must not be told.
        thread.join().expect("ends");
        assert_ne!(supervisor.death().map(|death| death.name), Some("stops".into()));
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_a_death() {
        let supervisor = Supervisor::default();
        let thread = supervisor.thread("works", &CancellationToken::new(), |_| panic!("planned"));
        assert!(thread.expect("a thread").join().is_err());
        assert_eq!(supervisor.died().await, Death { name: "works".into(), how: "panicked" });
    }
}
