//! The function of the route `$disconnect`.

use bond_functions::adapters;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let disconnect = &adapters::disconnect().await?;
    run(service_fn(|event: LambdaEvent<_>| disconnect.handle(event.payload))).await
}
