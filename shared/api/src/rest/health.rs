//! Whether the server lives, and whether it can do its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use bond_core::code::Code;
use bond_core::log::EventLog;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use bond_supervise::{Death, Supervisor};
use serde::Serialize;
use tokio::sync::Mutex;
#[cfg(test)]
use utoipa::ToSchema;

use super::RestState;
#[cfg(test)]
use super::described::NotReady;
use crate::auth::LOCAL_OWNER;
use crate::problem::Problem;

/// Whether ingest runs, which is set by whoever starts and stops it, and whether all tasks of this process run. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    ingest_runs: Arc<AtomicBool>,
    supervisor: Supervisor,
}

impl Readiness {
    /// The readiness of a process that `supervisor` watches. Ingest does not run yet.
    pub fn of(supervisor: &Supervisor) -> Self {
        Self { ingest_runs: Arc::default(), supervisor: supervisor.clone() }
    }

    /// Sets whether ingest runs.
    pub fn set(&self, ready: bool) {
        self.ingest_runs.store(ready, Ordering::Release);
    }

    /// Whether ingest runs.
    pub fn get(&self) -> bool {
        self.ingest_runs.load(Ordering::Acquire)
    }

    /// The task of this process that has ended although it must run, if there is one.
    pub fn death(&self) -> Option<Death> {
        self.supervisor.death()
    }
}

/// The port to what a server needs besides the registry: the event log and ingest.
#[async_trait]
pub trait Backing: Send + Sync {
    /// Whether the event log answers. Must not wait longer than a client does.
    async fn log_answers(&self) -> bool;

    /// Whether an ingest process runs. Must not wait longer than a client does.
    async fn ingest_runs(&self) -> bool;

    /// The task of this process that has ended although it must run; `None` also in a process without such tasks.
    fn death(&self) -> Option<Death> {
        None
    }
}

/// [`Backing`] by a log, and a readiness that the host of ingest sets.
pub struct LocalBacking {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Whether ingest runs.
    pub readiness: Readiness,
}

#[async_trait]
impl Backing for LocalBacking {
    async fn log_answers(&self) -> bool {
        self.log.head(&Topic::Stream(StreamId::from_bytes([0; 8]))).await.is_ok()
    }

    async fn ingest_runs(&self) -> bool {
        self.readiness.get()
    }

    fn death(&self) -> Option<Death> {
        self.readiness.death()
    }
}

/// How long the result of a probe is used. Registry and log are asked at most once in this time, however many requests come.
const PROBE_HOLDS: Duration = Duration::from_secs(1);

/// The result of the last probe (what was missing) and its time.
#[derive(Debug, Default)]
pub struct Probed(Mutex<Option<(UnixNanos, Vec<&'static str>)>>);

impl Probed {
    /// What is missing. A caller that comes during a probe waits for its result.
    async fn missing(&self, state: &RestState) -> Vec<&'static str> {
        let mut last = self.0.lock().await;
        let now = state.clock.now();
        if let Some((at, missing)) = &*last
            && now.since(*at) < PROBE_HOLDS
        {
            return missing.clone();
        }
        let missing = probe(state).await;
        *last = Some((now, missing.clone()));
        missing
    }
}

async fn probe(state: &RestState) -> Vec<&'static str> {
    let registry = state.store.list(LOCAL_OWNER, None, 1, state.clock.now()).await;
    let log_answers = state.backing.log_answers().await;
    let ingest_runs = state.backing.ingest_runs().await;
    let parts = [("registry", registry.is_ok()), ("event log", log_answers), ("ingest", ingest_runs)];
    parts.into_iter().filter(|(_, works)| !works).map(|(name, _)| name).collect()
}

/// A server that lives.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Health {
    /// `ok`.
    #[cfg_attr(test, schema(value_type = String, example = "ok"))]
    status: &'static str,
    /// `bond`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<String>, example = "bond"))]
    service: Option<&'static str>,
}

/// Name the service.
#[cfg_attr(test, utoipa::path(get, path = "/", operation_id = "get_service", tag = "health", responses((status = 200, body = Health))))]
pub(super) async fn root() -> Json<Health> {
    Json(Health { status: "ok", service: Some("bond") })
}

/// Say that the process lives.
#[cfg_attr(test, utoipa::path(get, path = "/health", operation_id = "get_health", tag = "health", responses((status = 200, body = Health))))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok", service: None })
}

/// Say whether registry, log and ingest can do their work, and whether all runs that must.
#[cfg_attr(test, utoipa::path(
    get, path = "/ready", operation_id = "get_readiness", tag = "health",
    responses(
        (status = 200, description = "Ready", body = Health),
        (status = 503, response = NotReady),
    ),
))]
pub(super) async fn ready(State(state): State<Arc<RestState>>) -> Result<Json<Health>, Problem> {
    if let Some(death) = state.backing.death() {
        return Err(Problem::new(Code::ConnectionError, format!("not ready: {death}")));
    }
    let missing = state.probed.missing(&state).await;
    match missing.is_empty() {
        true => Ok(Json(Health { status: "ok", service: None })),
        false => Err(Problem::new(Code::ConnectionError, format!("not ready: {}", missing.join(", ")))),
    }
}
