//! One list of scenarios, run against every host.
//!
//! | | dedicated edge | `bond-gateway` | emulator |
//! |---|---|---|---|
//! | what it is | `bond up` | the functions behind a strict simulator of API Gateway | `cdk deploy` of `iac` |
//! | a token that is refused | closed with 1008 | handshake answered with 401 | as `bond-gateway` |
//! | a stream that ends | closed with 4510 | closed by the platform, with its code | as `bond-gateway` |
//! | `pong` | with `ts` and `correlation_id` | the platform's own | as `bond-gateway` |
//! | events a second and venue | 400 | 200 | 40: it takes 66 ms a call and posts one after another |
//! | joins of past and present | 20 | 10 | 3 |

mod scenarios;

use anyhow::Result;
use bond_e2e::api::Api;
use bond_e2e::host::{Ending, Host, Refusal, Traits};
use bond_e2e::process::Bond;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dedicated_edge_does_it_all() -> Result<()> {
    let traits = Traits {
        name: "dedicated edge",
        refusal: Refusal::Close(1008),
        ending: Ending::Code(4510),
        mock_pong: false,
        rate: 400,
        joins: 20,
    };
    let bond = Bond::up(&["--sim-rate", &traits.rate.to_string()], &[("BOND_MAX_STREAMS", "50")]).await?;
    let host = Host { api: Api::clone(&bond), feed_url: format!("{}/stream?mode=feed", bond.ws), traits };
    scenarios::run(&host).await
}
