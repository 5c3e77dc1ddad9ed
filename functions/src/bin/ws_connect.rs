//! The function of the route `$connect`.

use bond_functions::adapters;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let connect = &adapters::connect().await?;
    run(service_fn(|event: LambdaEvent<_>| connect.handle(event.payload))).await
}
