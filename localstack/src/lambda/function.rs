//! A function: its processes, kept warm and used again, as many as run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outcome::REQUEST_BYTES;
use super::runtime_api::Answer;
use super::{Environment, Fleet, FunctionLog, InvokeError};
use crate::config::{FunctionConfig, GATEWAY_PLACEHOLDER};
use crate::id;
use crate::stats::FunctionStats;

/// How many asynchronous invocations may wait; Lambda's own queue is far longer.
const QUEUED_EVENTS: usize = 10_000;

/// One function.
#[derive(Debug)]
pub(crate) struct Function {
    name: String,
    config: FunctionConfig,
    /// Processes without work; the last used is the first used again, as is Lambda's habit.
    idle: Mutex<Vec<Arc<Environment>>>,
    /// One permit for each invocation that may run.
    slots: Arc<Semaphore>,
    events: Arc<Semaphore>,
    retired: AtomicBool,
    stats: Arc<FunctionStats>,
    fleet: Fleet,
    log: Arc<FunctionLog>,
}

/// A configuration with the simulator's URL in its environment.
pub(super) fn with_gateway(mut config: FunctionConfig, base_url: &str) -> FunctionConfig {
    for value in config.env.values_mut() {
        *value = value.replace(GATEWAY_PLACEHOLDER, base_url);
    }
    config
}

impl Function {
    /// A function of which nothing runs yet.
    pub(super) fn new(name: &str, config: FunctionConfig, fleet: Fleet, log: Arc<FunctionLog>) -> Self {
        Self {
            name: name.to_owned(),
            slots: Arc::new(Semaphore::new(config.concurrency)),
            events: Arc::new(Semaphore::new(QUEUED_EVENTS)),
            config,
            idle: Mutex::default(),
            retired: AtomicBool::new(false),
            stats: Arc::default(),
            fleet,
            log,
        }
    }

    /// The same function with another configuration; it goes on with the statistics.
    pub(super) fn successor(&self, config: FunctionConfig) -> Self {
        let fresh = Self::new(&self.name, config, self.fleet.clone(), self.log.clone());
        Self { stats: self.stats.clone(), ..fresh }
    }

    /// Ends processes as they become idle.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.idle.lock().drain(..).for_each(|environment| environment.terminate());
    }

    /// Invokes it and waits for the response. The invocation goes on where the caller does not wait for it, as on AWS.
    pub(crate) async fn invoke(self: &Arc<Self>, payload: Bytes) -> Answer {
        if payload.len() > REQUEST_BYTES {
            return Err(InvokeError::TooLarge(payload.len()));
        }
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| self.throttled())?;
        let running = tokio::spawn(self.clone().run(payload, slot));
        running.await.unwrap_or_else(|_| Err(InvokeError::exited("unknown", None)))
    }

    /// Invokes it some time, so many times; waits for nothing.
    pub(crate) fn enqueue(self: &Arc<Self>, payload: &Bytes, times: usize) -> Result<(), InvokeError> {
        for _ in 0..times {
            let queued = self.events.clone().try_acquire_owned().map_err(|_| self.throttled())?;
            tokio::spawn(self.clone().run_queued(payload.clone(), queued));
        }
        Ok(())
    }

    async fn run_queued(self: Arc<Self>, payload: Bytes, queued: OwnedSemaphorePermit) -> Answer {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| InvokeError::Throttled)?;
        drop(queued);
        self.run(payload, slot).await
    }

    async fn run(self: Arc<Self>, payload: Bytes, slot: OwnedSemaphorePermit) -> Answer {
        let request_id = id::request_id();
        self.stats.invocations.count();
        let answer = self.run_somewhere(&request_id, payload).await;
        if let Err(failure) = &answer {
            self.stats.errors.count();
            tracing::warn!(function = self.name, request_id, "{failure}");
        }
        drop(slot);
        answer
    }

    async fn run_somewhere(&self, request_id: &str, payload: Bytes) -> Answer {
        if let Some(warm) = self.take_idle() {
            let answer = warm.invoke(self, request_id, payload).await;
            self.release(warm);
            return answer;
        }
        let cold = Environment::start(self, request_id).await?;
        let answer = cold.invoke(self, request_id, payload).await;
        self.stats.first_answer_ms.add(cold.age());
        self.release(cold);
        answer
    }

    fn take_idle(&self) -> Option<Arc<Environment>> {
        let mut idle = self.idle.lock();
        idle.retain(|environment| environment.is_alive());
        idle.pop()
    }

    fn release(&self, environment: Arc<Environment>) {
        // Under the lock, so that `retire` either finds it idle or is seen here.
        let mut idle = self.idle.lock();
        if self.retired.load(Ordering::SeqCst) {
            environment.terminate();
        } else if environment.is_alive() {
            idle.push(environment);
        }
    }

    fn throttled(&self) -> InvokeError {
        self.stats.throttles.count();
        InvokeError::Throttled
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its statistics.
    pub(crate) fn stats(&self) -> &FunctionStats {
        &self.stats
    }

    /// Its statistics and how many processes run.
    pub(super) fn report(&self) -> Value {
        let mut report = serde_json::to_value(&*self.stats).unwrap_or_default();
        let running =
            self.fleet.lock().values().filter(|environment| environment.function() == self.name).count();
        report["environments"] = running.into();
        report
    }

    pub(super) fn config(&self) -> &FunctionConfig {
        &self.config
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn log(&self) -> &Arc<FunctionLog> {
        &self.log
    }
}
