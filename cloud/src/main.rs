//! `bond-cloud`: Bond's processes on AWS.

mod adapters;
mod cli;
mod config;
mod edge;
mod figures;
mod healthy;
mod http;
mod ingest;
mod keys;
mod term;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bond-cloud: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Ingest(args) => ingest::run(&args).await,
            Command::Edge(args) => edge::run(&args).await,
            Command::Healthy(args) => healthy::run(&args).await,
        }
    })
}
