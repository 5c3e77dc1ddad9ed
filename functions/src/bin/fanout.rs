//! The fan-out function.

use bond_functions::adapters;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let fanout = &adapters::fanout().await?;
    run(service_fn(|event: LambdaEvent<_>| fanout.handle(event.payload))).await
}
