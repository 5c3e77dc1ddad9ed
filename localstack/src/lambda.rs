//! Lambda: functions as processes, invoked through the Runtime API.

mod environment;
mod function;
mod invoke;
mod log;
mod outcome;
mod runtime_api;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

pub(crate) use environment::Environment;
pub(crate) use function::Function;
pub(crate) use invoke::handle as invoke;
pub(crate) use log::FunctionLog;
pub(crate) use outcome::InvokeError;

use crate::config::FunctionConfig;

/// The account number in ARNs.
const ACCOUNT: &str = "000000000000";
/// The region told to functions, unless their own environment says another.
const REGION: &str = "us-east-1";
/// How long processes have between SIGTERM and SIGKILL at the end.
const GRACE: Duration = Duration::from_millis(500);

/// The processes that run, by the access key that each was given.
type Fleet = Arc<Mutex<HashMap<String, Arc<Environment>>>>;

/// All functions.
#[derive(Debug)]
pub(crate) struct Lambda {
    functions: RwLock<BTreeMap<String, Arc<Function>>>,
    fleet: Fleet,
    log: Arc<FunctionLog>,
}

impl Lambda {
    /// The functions of a configuration; none runs yet.
    pub(crate) fn new(configs: &BTreeMap<String, FunctionConfig>, base_url: &str) -> Self {
        let (fleet, log) = (Fleet::default(), Arc::new(FunctionLog::default()));
        let function = |(name, config): (&String, &FunctionConfig)| {
            let config = function::with_gateway(config.clone(), base_url);
            (name.clone(), Arc::new(Function::new(name, config, fleet.clone(), log.clone())))
        };
        Self { functions: RwLock::new(configs.iter().map(function).collect()), fleet, log }
    }

    /// A function by its name, its ARN, or either with a version or alias.
    pub(crate) fn function(&self, name: &str) -> Option<Arc<Function>> {
        let name = name.split_once(":function:").map_or(name, |(_, name)| name);
        let name = name.split(':').next()?;
        self.functions.read().get(name).cloned()
    }

    /// Deploys new code or configuration of a function: later invocations run it, those under way end on the old.
    pub(crate) fn deploy(&self, name: &str, config: FunctionConfig, base_url: &str) -> bool {
        let mut functions = self.functions.write();
        let Some(slot) = functions.get_mut(name) else { return false };
        let successor = Arc::new(slot.successor(function::with_gateway(config, base_url)));
        std::mem::replace(slot, successor).retire();
        true
    }

    /// The process that was given an access key.
    pub(crate) fn environment(&self, access_key: &str) -> Option<Arc<Environment>> {
        self.fleet.lock().get(access_key).cloned()
    }

    /// What functions wrote last.
    pub(crate) fn log(&self) -> &FunctionLog {
        &self.log
    }

    /// What happened, by function.
    pub(crate) fn stats(&self) -> Value {
        self.functions.read().iter().map(|(name, function)| (name.clone(), function.report())).collect()
    }

    /// Ends all processes: SIGTERM, then SIGKILL.
    pub(crate) async fn stop(&self) {
        let environments: Vec<_> = self.fleet.lock().values().cloned().collect();
        for environment in &environments {
            environment.terminate();
        }
        let exits =
            futures_util::future::join_all(environments.iter().map(|environment| environment.exited()));
        if tokio::time::timeout(GRACE, exits).await.is_err() {
            futures_util::future::join_all(environments.iter().map(|environment| environment.kill())).await;
        }
    }
}
