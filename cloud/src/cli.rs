//! The command line of `bond-cloud`. What differs from one deployment to another is in the environment.

use std::net::IpAddr;
use std::path::PathBuf;

use bond_edge::cli::{VenueArgs, Venues};
use clap::{Args, Parser, Subcommand};

/// Bond's processes on AWS. Settings come from the environment; docs/deploy.md names them.
#[derive(Parser, Debug)]
#[command(name = "bond-cloud", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Stand by for the lease, and while holding it take in what is wanted and relay it to the serverless edge's clients.
    Ingest(IngestArgs),
    /// Serve REST and WebSocket from the log, beside the serverless edge.
    Edge(EdgeArgs),
    /// Ask a process on this machine whether it is well, for the health check of its container.
    Healthy(HealthyArgs),
}

/// `bond-cloud ingest`.
#[derive(Args, Debug)]
pub(crate) struct IngestArgs {
    /// Where venues' data come from.
    #[arg(long, value_enum, default_value = "live")]
    pub(crate) venues: Venues,
    /// Other venues than those, and how they are simulated.
    #[command(flatten)]
    pub(crate) at: VenueArgs,
    /// The address of health checks and metrics.
    #[arg(long, default_value = "0.0.0.0")]
    pub(crate) bind: IpAddr,
    /// Write the URL of health checks to this file once they are served, for scripts that wait.
    #[arg(long)]
    pub(crate) ready_file: Option<PathBuf>,
}

/// `bond-cloud edge`.
#[derive(Args, Debug)]
pub(crate) struct EdgeArgs {
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub(crate) bind: IpAddr,
    /// Write the URLs to this file once everything is served, for scripts that wait.
    #[arg(long)]
    pub(crate) ready_file: Option<PathBuf>,
}

/// `bond-cloud healthy`.
#[derive(Args, Debug)]
pub(crate) struct HealthyArgs {
    /// What to ask; `/health` on BOND_PORT of this machine unless said.
    #[arg(long)]
    pub(crate) url: Option<String>,
}
