//! What a post to `@connections` costs this process, in CPU time, against a server on loopback that is a process of its own.
//!
//! `cargo run --release -p bond-aws --example posts [POSTS]`; signed with whatever credentials the environment has, such as
//! `AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_REGION=eu-central-1`.

use std::error::Error;
use std::process::Stdio;
use std::time::Instant;

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
/// The server's argument.
const SERVE: &str = "serve";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some(SERVE) {
        return serve().await;
    }
    let posts = argument.map_or(Ok(50_000), |posts| posts.parse())?;
    let (_server, url) = start_server().await?;
    let gateway = Aws::load().await.api_gateway(&url, u32::MAX)?;
    run(&gateway, 1_000).await;
    let (cpu, start) = (cpu_seconds()?, Instant::now());
    run(&gateway, posts).await;
    let (cpu, elapsed) = (cpu_seconds()? - cpu, start.elapsed().as_secs_f64());
    let posts = posts as f64;
    println!("{:.1} µs CPU a post, {:.0} posts/s", cpu / posts * 1e6, posts / elapsed);
    Ok(())
}

async fn run(gateway: &ApiGateway, posts: usize) {
    let message = [Bytes::from(vec![b'1'; 300])];
    let post = |n: usize| {
        let (connection, message) = (ConnectionId::new(format!("L0SM9cOFvHcCI{n}=")), &message);
        async move {
            let delivery = gateway.deliver(&connection, message, 0).await;
            assert_eq!(delivery.taken, 1, "{delivery:?}");
        }
    };
    stream::iter(0..posts).for_each_concurrent(AT_ONCE, post).await;
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
