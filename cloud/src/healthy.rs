//! `bond-cloud healthy`: the container's health check.

use std::time::Duration;

use anyhow::ensure;

use crate::cli::HealthyArgs;
use crate::config;

/// How long an answer may take: less than the health check's own limit.
const PATIENCE: Duration = Duration::from_secs(3);

/// Fails unless the process answers that it is well.
pub(crate) async fn run(args: &HealthyArgs) -> anyhow::Result<()> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => format!("http://127.0.0.1:{}/health", config::port()?),
    };
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let status = http.get(&url).send().await?.status();
    ensure!(status.is_success(), "{url} answers {status}");
    Ok(())
}
