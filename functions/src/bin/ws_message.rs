//! The function of the route `$default`.

use bond_functions::adapters;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let messages = &adapters::messages().await?;
    run(service_fn(|event: LambdaEvent<_>| messages.handle(event.payload))).await
}
