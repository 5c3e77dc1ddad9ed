//! The function of the HTTP API.

use bond_functions::adapters;
use lambda_runtime::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::run(adapters::api().await?).await
}
