//! Functions that try what they may not, where the emulator enforces IAM.

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::cloud::Deployed;
use bond_e2e::host::Host;
use serde_json::{Value, json};

/// Each is refused by AWS, though nothing in its own code stops it.
pub(super) async fn run(cloud: &Deployed, host: &Host) -> Result<()> {
    a_function_cannot_write_another_ones_table(cloud, host).await.context("another table")?;
    the_fan_out_cannot_post_to_another_stage(cloud, host).await.context("another stage")
}

async fn a_function_cannot_write_another_ones_table(cloud: &Deployed, host: &Host) -> Result<()> {
    let created = host.api.stream("BTC trades tick by tick").await?;
    let function = cloud.output("ConnectFunctionName")?;
    // It may read streams, and not write them.
    tell(cloud, &function, "BOND_TABLE_CONNECTIONS", &cloud.output("StreamsTable")?).await?;
    host.refuses(&ws_url(&created, ""), 500).await?;
    tell(cloud, &function, "BOND_TABLE_CONNECTIONS", &cloud.output("ConnectionsTable")?).await?;
    host.read(&created, "").await?.next().await.map(drop)
}

async fn the_fan_out_cannot_post_to_another_stage(cloud: &Deployed, host: &Host) -> Result<()> {
    let function = cloud.output("FanoutFunctionName")?;
    let stage = cloud.said("callback_url")?;
    let elsewhere = format!("{}/elsewhere", stage.rsplit_once('/').context("a stage")?.0);
    tell(cloud, &function, "BOND_WS_CALLBACK_URL", &elsewhere).await?;
    let invocation = json!({
        "lane": 0, "number": 1, "budget_ms": 3000, "messages": [{"type": "none"}],
        "parcels": [{"connection": "nobody=", "batch": 0, "runs": [[0, 1]]}],
    });
    let receipt = invoke(cloud, &function, &invocation).await?;
    ensure!(receipt["deliveries"] == json!([{"taken": 0, "stop": "failed"}]), "refused, not gone: {receipt}");
    tell(cloud, &function, "BOND_WS_CALLBACK_URL", &stage).await?;
    let receipt = invoke(cloud, &function, &invocation).await?;
    ensure!(receipt["deliveries"][0]["stop"] == "gone", "on its own stage it may: {receipt}");
    let created = host.api.stream("BTC trades tick by tick").await?;
    host.read(&created, "").await?.next().await.map(drop)
}

/// Changes one variable of a function's environment.
async fn tell(cloud: &Deployed, function: &str, name: &str, value: &str) -> Result<()> {
    let path = format!("/2015-03-31/functions/{function}/configuration");
    let mut configuration = cloud.aws("lambda", "GET", &path, &Value::Null).await?;
    let mut environment = configuration["Environment"].take();
    environment["Variables"][name] = json!(value);
    cloud.aws("lambda", "PUT", &path, &json!({"Environment": environment})).await.map(drop)
}

async fn invoke(cloud: &Deployed, function: &str, event: &Value) -> Result<Value> {
    cloud.aws("lambda", "POST", &format!("/2015-03-31/functions/{function}/invocations"), event).await
}
