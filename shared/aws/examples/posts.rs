//! What a post to `@connections` costs this process in CPU time: Bond's own, and the one of AWS's SDK. Both go in turns, in one run,
//! to one server on loopback that is a process of its own.
//!
//! `cargo run --release -p bond-aws --example posts [POSTS]`; signed with whatever credentials the environment has, such as
//! `AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_REGION=eu-central-1`.

use std::error::Error;
use std::process::Stdio;
use std::time::Instant;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::Builder;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use axum::Router;
use axum::routing::post;
use bond_aws::{ApiGateway, Aws};
use bond_core::connection::ConnectionId;
use bond_core::deliver::Deliverer;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Posts under way at once.
const AT_ONCE: usize = 100;
/// How often each way has its turn.
const TURNS: usize = 5;
/// A message's bytes.
const BYTES: usize = 300;
/// The server's argument.
const SERVE: &str = "serve";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(SERVE) {
        return serve().await;
    }
    let posts: usize = argument.map_or(Ok(50_000), |posts| posts.parse())?;
    let (_server, url) = start_server().await?;
    let own = Aws::load().await.api_gateway(&url, u32::MAX)?;
    let sdk = sdk_client(&url).await;
    let (own, sdk) = measure(&own, &sdk, posts).await?;
    own.print("own", posts);
    sdk.print("SDK", posts);
    println!("SDK / own: {:.2}", sdk.cpu / own.cpu);
    Ok(())
}

/// A way to post.
trait Post {
    async fn post(&self, connection: ConnectionId, message: Bytes) -> Outcome<()>;
}

impl Post for ApiGateway {
    async fn post(&self, connection: ConnectionId, message: Bytes) -> Outcome<()> {
        let delivery = self.deliver(&connection, &[message], 0).await;
        if delivery.taken == 1 { Ok(()) } else { Err(format!("{delivery:?}").into()) }
    }
}

impl Post for Client {
    async fn post(&self, connection: ConnectionId, message: Bytes) -> Outcome<()> {
        let request = self.post_to_connection().connection_id(connection.as_str());
        Ok(request.data(Blob::new(message)).send().await.map(drop)?)
    }
}

/// The SDK's client as [`ApiGateway`] would use it: the same TLS, each request sent once.
async fn sdk_client(url: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http.build_https()).load().await;
    let config = Builder::from(&config).endpoint_url(url).retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

/// Seconds that posts took.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: f64,
    elapsed: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.elapsed += other.elapsed;
    }

    fn print(self, way: &str, posts: usize) {
        let posts = posts as f64;
        println!("{way}: {:.1} µs CPU a post, {:.0} posts/s", self.cpu / posts * 1e6, posts / self.elapsed);
    }
}

/// Posts by turns, so that what else the machine does falls on both alike.
async fn measure(own: &impl Post, sdk: &impl Post, posts: usize) -> Outcome<(Cost, Cost)> {
    let (mut by_own, mut by_sdk) = (Cost::default(), Cost::default());
    run(own, 1_000).await?;
    run(sdk, 1_000).await?;
    for _ in 0..TURNS {
        by_own.add(run(own, posts / TURNS).await?);
        by_sdk.add(run(sdk, posts / TURNS).await?);
    }
    Ok((by_own, by_sdk))
}

async fn run(way: &impl Post, posts: usize) -> Outcome<Cost> {
    let message = Bytes::from(vec![b'1'; BYTES]);
    let connections = (0..posts).map(|n| ConnectionId::new(format!("L0SM9cOFvHcCI{n}=")));
    let (cpu, start) = (cpu_seconds()?, Instant::now());
    let posts = stream::iter(connections).map(|connection| way.post(connection, message.clone()));
    let results: Vec<Outcome<()>> = posts.buffer_unordered(AT_ONCE).collect().await;
    let cost = Cost { cpu: cpu_seconds()? - cpu, elapsed: start.elapsed().as_secs_f64() };
    results.into_iter().collect::<Outcome<()>>().map(|()| cost)
}

async fn start_server() -> Outcome<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut server = command.arg(SERVE).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = server.stdout.take().ok_or("no output")?;
    let url = BufReader::new(output).lines().next_line().await?.ok_or("no URL")?;
    Ok((server, url))
}

async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/live", listener.local_addr()?);
    let app = Router::new().route("/live/@connections/{id}", post(|_body: Bytes| async {}));
    Ok(axum::serve(listener, app).await?)
}

/// The CPU time that this process has used, from Linux's counters of hundredths of a second.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = fields.iter().skip(11).take(2).map(|ticks| ticks.parse::<f64>()).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}
