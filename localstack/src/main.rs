//! `bond-gateway`: runs the simulator until it is told to stop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bond_gateway::config::Config;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A strict simulator of API Gateway and Lambda, for functions under test.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, a JSON file
    #[arg(long)]
    config: PathBuf,
    /// The port on loopback; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Written once connections are accepted: the base URL, one line
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let config = Config::read(&arguments.config)?;
    let listener = bond_gateway::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)))?;
    let url = format!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    announce(&url, arguments.ready_file.as_deref())?;
    bond_gateway::serve(config, listener, stop).await
}

fn announce(url: &str, ready_file: Option<&Path>) -> anyhow::Result<()> {
    println!("{url}");
    let Some(path) = ready_file else { return Ok(()) };
    // Renamed into place, so that whoever waits for the file never reads half of it.
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, format!("{url}\n"))
        .and_then(|()| std::fs::rename(&unfinished, path))
        .with_context(|| format!("ready file cannot be written: {}", path.display()))
}

async fn stop_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    Ok(())
}
