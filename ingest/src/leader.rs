//! Standing by and leading: one process at a time holds the lease, and knows until when.
//!
//! A [`Term`] decides who should write. It does not stop a process that has not noticed the end of its term: the log's fence does.

use std::sync::Arc;
use std::time::Duration;

use bond_core::lease::{LEASE, Lease, RENEWAL};
use bond_core::log::LogError;
use bond_supervise::Supervisor;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often a process that stands by asks for the lease, and how soon a failed renewal is tried again.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How long giving up the lease may take. After that the process does not wait, since the lease ends by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Returns until when a process leads, by its monotonic clock.
pub type Deadline = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The name of the task that renews the lease while this process leads.
const KEEPER: &str = "lease";

/// A term of leadership. If it is dropped without [`Term::resign`], the lease is no longer renewed and ends by itself.
pub struct Term {
    lease: Arc<dyn Lease>,
    until: Arc<Mutex<Instant>>,
    lost: CancellationToken,
    renewing: DropGuard,
}

/// Waits until this process holds the lease, and then keeps renewing it. If asking fails, it asks again.
pub async fn stand_by(lease: Arc<dyn Lease>, supervisor: &Supervisor) -> Term {
    let mut is_told = false;
    loop {
        let asked = Instant::now();
        match timeout(LEASE, lease.hold()).await {
            // If the answer took longer than the lease lasts, the lease may have ended already.
            Ok(Ok(true)) if asked.elapsed() < LEASE => return Term::begin(lease, asked, supervisor),
            Ok(Ok(_)) => is_told = false,
            Ok(Err(_)) | Err(_) if is_told => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "standing by; the lease cannot be asked for");
                is_told = true;
            }
            Err(_) => tracing::warn!("standing by; the lease was asked for without an answer"),
        }
        sleep(ASK_EVERY).await;
    }
}

/// Leads whenever possible, until `cancel`: stands by, runs `serve` for a term, and stands by again. `serve` gets the deadline of its term
/// and a token that is cancelled when the term ends or with `cancel`; it must return soon after. If `serve` fails, or another writer has
/// fenced it off, the lease is given up and asked for again.
pub async fn lead<F>(
    lease: Arc<dyn Lease>,
    supervisor: &Supervisor,
    cancel: CancellationToken,
    serve: impl Fn(Deadline, CancellationToken) -> F,
) where
    F: Future<Output = Result<(), LogError>>,
{
    loop {
        let term = tokio::select! {
            () = cancel.cancelled() => return,
            term = stand_by(Arc::clone(&lease), supervisor) => term,
        };
        tracing::info!("this process leads");
        let outcome = term.serve(&cancel, &serve).await;
        term.resign().await;
        if cancel.is_cancelled() {
            return;
        }
        tracing::warn!(?outcome, "this process leads no more and stands by");
        sleep(ASK_EVERY).await;
    }
}

impl Term {
    async fn serve<F>(
        &self,
        cancel: &CancellationToken,
        serve: impl Fn(Deadline, CancellationToken) -> F,
    ) -> Result<(), LogError>
    where
        F: Future<Output = Result<(), LogError>>,
    {
        let over = cancel.child_token();
        let mut serving = std::pin::pin!(serve(self.deadline(), over.clone()));
        tokio::select! {
            outcome = &mut serving => return outcome,
            () = self.lost.cancelled() => over.cancel(),
        }
        serving.await
    }

    fn begin(lease: Arc<dyn Lease>, asked: Instant, supervisor: &Supervisor) -> Self {
        let until = Arc::new(Mutex::new(asked + LEASE));
        let (lost, ended) = (CancellationToken::new(), CancellationToken::new());
        let renewal = Renewal { lease: Arc::clone(&lease), until: Arc::clone(&until) };
        // The guard ends the term however the renewal ends.
        let (told, stop) = (lost.clone().drop_guard(), ended.clone());
        supervisor.spawn(KEEPER, &ended, async move {
            stop.run_until_cancelled(renewal.run()).await;
            stop.cancel();
            drop(told);
        });
        Self { lease, until, lost, renewing: ended.drop_guard() }
    }

    /// Until when nobody else holds the lease, by this process's monotonic clock, counted from before it was asked for. A time in the
    /// past once the term is over.
    pub fn until(&self) -> Instant {
        *self.until.lock()
    }

    /// [`Term::until`] as a function that does not borrow the term.
    pub fn deadline(&self) -> Deadline {
        let until = Arc::clone(&self.until);
        Arc::new(move || *until.lock())
    }

    /// A token that is cancelled once the lease could not be renewed in time, or another process holds it.
    pub const fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives up the lease, so that the next process need not wait for its end. To be called when nothing writes any more.
    pub async fn resign(self) {
        drop(self.renewing);
        match timeout(RELEASE_WITHIN, self.lease.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not released and runs out by itself"),
            Err(_) => tracing::warn!("the lease was not released in time and runs out by itself"),
        }
    }
}

/// Keeps a lease that is held.
struct Renewal {
    lease: Arc<dyn Lease>,
    until: Arc<Mutex<Instant>>,
}

impl Renewal {
    /// Returns once the lease is lost.
    async fn run(self) {
        let mut pause = RENEWAL;
        loop {
            let until = *self.until.lock();
            sleep(pause).await;
            // A process that was frozen may wake after its lease has ended, and another may have held the lease in between.
            if Instant::now() >= until {
                return tracing::error!("the lease ran out before it was renewed");
            }
            let asked = Instant::now();
            match timeout_at(until, self.lease.hold()).await {
                Ok(Ok(true)) if Instant::now() < until => {
                    *self.until.lock() = asked + LEASE;
                    pause = RENEWAL;
                }
                Ok(Ok(false)) => return self.give_up("another process holds the lease"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease was not renewed");
                    pause = ASK_EVERY;
                }
                Ok(Ok(true)) | Err(_) => return self.give_up("the lease was not renewed in time"),
            }
        }
    }

    fn give_up(&self, reason: &str) {
        tracing::error!(reason, "the lease is lost");
        let mut until = self.until.lock();
        *until = (*until).min(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::time::advance;

    use super::*;

    /// Answers as it is told to; the last answer stands.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<bool, LogError>>>,
        asked: Mutex<Vec<Instant>>,
        released: Mutex<bool>,
    }

    fn away() -> Result<bool, LogError> {
        Err(LogError::Unavailable("down".to_owned()))
    }

    fn lease(answers: impl IntoIterator<Item = Result<bool, LogError>>) -> Arc<Scripted> {
        Arc::new(Scripted { answers: Mutex::new(answers.into_iter().collect()), ..Scripted::default() })
    }

    #[async_trait]
    impl Lease for Scripted {
        async fn hold(&self) -> Result<bool, LogError> {
            self.asked.lock().push(Instant::now());
            let mut answers = self.answers.lock();
            let answer = answers.front().cloned().unwrap_or(Ok(true));
            if answers.len() > 1 {
                answers.pop_front();
            }
            answer
        }

        async fn release(&self) -> Result<(), LogError> {
            *self.released.lock() = true;
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_by_leads_once_the_other_is_gone() {
        let lease = lease([Ok(false), away(), Ok(false), Ok(true)]);
        let began = Instant::now();
        let term = stand_by(Arc::<Scripted>::clone(&lease), &Supervisor::default()).await;
        assert_eq!(began.elapsed(), 3 * ASK_EVERY);
        assert_eq!(term.until(), Instant::now() + LEASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_goes_on_while_it_is_renewed_and_through_a_short_outage() {
        let lease = lease([Ok(true), Ok(true), away(), away(), Ok(true)]);
        let term = stand_by(lease, &Supervisor::default()).await;
        sleep(3 * LEASE).await;
        assert!(!term.lost().is_cancelled());
        assert!(term.until() > Instant::now() + LEASE - RENEWAL - ASK_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_when_the_lease_is_anothers() {
        let term = stand_by(lease([Ok(true), Ok(false)]), &Supervisor::default()).await;
        let began = Instant::now();
        term.lost().cancelled().await;
        assert_eq!(began.elapsed(), RENEWAL);
        assert!(term.until() <= Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_with_the_lease_when_nobody_answers() {
        let term = stand_by(lease([Ok(true), away()]), &Supervisor::default()).await;
        let until = term.until();
        term.lost().cancelled().await;
        assert!(Instant::now() >= until && Instant::now() <= until + ASK_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_frozen_finds_its_term_over_without_asking() {
        let lease = lease([Ok(true)]);
        let term = stand_by(Arc::<Scripted>::clone(&lease), &Supervisor::default()).await;
        tokio::task::yield_now().await;
        advance(2 * LEASE).await;
        assert!(term.until() < Instant::now());
        term.lost().cancelled().await;
        assert_eq!(lease.asked.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_resigns_releases_and_renews_no_more() {
        let lease = lease([Ok(true)]);
        stand_by(Arc::<Scripted>::clone(&lease), &Supervisor::default()).await.resign().await;
        sleep(LEASE).await;
        assert!(*lease.released.lock());
        assert_eq!(lease.asked.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_whose_term_ends_stops_stands_by_and_leads_again() {
        let lease = lease([Ok(true), Ok(false), Ok(true)]);
        let (cancel, terms) = (CancellationToken::new(), AtomicUsize::new(0));
        let serve = |_, over: CancellationToken| {
            let (cancel, term) = (&cancel, terms.fetch_add(1, Ordering::Relaxed));
            async move {
                match term {
                    0 => over.cancelled().await,
                    1 => return Err(LogError::Fenced),
                    _ => cancel.cancel(),
                }
                Ok(())
            }
        };
        lead(Arc::<Scripted>::clone(&lease), &Supervisor::default(), cancel.clone(), serve).await;
        assert_eq!(terms.into_inner(), 3);
        assert!(*lease.released.lock());
    }
}
