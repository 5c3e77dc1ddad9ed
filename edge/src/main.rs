//! The `bond` command.

use std::process::ExitCode;

use bond_edge::cli::{Cli, Command};
use bond_edge::command::{Exit, Failure, Outcome, compile, key, listen, normalize, sim, streams, up};
use bond_edge::config::Settings;
use bond_edge::logging;
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bond: {}", failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Compile { text } => compile::run(&text),
        Command::Normalize(args) => normalize::run(&args),
        Command::Key(args) => key::run(&args),
        served => runtime()?.block_on(run_async(served)),
    }
}

async fn run_async(command: Command) -> Outcome {
    match command {
        Command::Up(args) => {
            let settings = Settings::from_env().map_err(|error| Failure::new(Exit::Failed, error))?;
            logging::start(&settings)?;
            up::run(&args, settings).await
        }
        Command::Sim(args) => sim::run(&args).await,
        Command::Listen(args) => listen::run(&args).await,
        Command::Streams(server) => streams::list(&server).await,
        Command::Token { stream_id, server } => streams::token(&stream_id, &server).await,
        Command::Compile { .. } | Command::Normalize(_) | Command::Key(_) => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
