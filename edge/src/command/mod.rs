//! The subcommands of `bond`, one file each.

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, DemoAction, DemoArgs, TokenAction, TokenArgs};
use crate::config::Settings;
use crate::failure::{Exit, Failure, Outcome};
use crate::{logging, private};

pub mod broker;
pub mod client;
pub mod compile;
pub mod cost;
pub mod demo;
pub mod edge;
pub mod key;
pub mod listen;
pub mod normalize;
mod printable;
pub mod publish;
mod serve;
pub mod sim;
pub mod streams;
pub mod token;
pub mod up;

/// Does what the command line says, and tells on standard error why not.
pub fn main() -> ExitCode {
    private::by_default();
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bond: {}", failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Compile { text } => compile::run(&text),
        Command::Normalize(args) => normalize::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Cost(args) => {
            cost::run(&args);
            Ok(())
        }
        Command::Token(TokenArgs { action: Some(TokenAction::Rotate), .. }) => token::rotate(),
        Command::Token(TokenArgs { action: Some(TokenAction::Jwt(args)), .. }) => {
            let settings = Settings::from_env().map_err(|error| Failure::new(Exit::Failed, error))?;
            token::jwt(&args, &settings.jwt)
        }
        served => runtime()?.block_on(dispatch_async(served)),
    }
}

async fn dispatch_async(command: Command) -> Outcome {
    match command {
        Command::Up(args) => up::run(&args, &settings()?).await,
        Command::Edge(args) => edge::run(&args, &settings()?).await,
        Command::Sim(args) => sim::run(&args).await,
        Command::Listen(args) => listen::run(&args).await,
        Command::Publish(args) => publish::run(&args).await,
        Command::Demo(DemoArgs { action: DemoAction::Topics(args) }) => {
            let settings = Settings::from_env().map_err(|error| Failure::new(Exit::Failed, error))?;
            demo::topics(&args, &settings.jwt).await
        }
        Command::Streams(server) => streams::list(&server).await,
        Command::Token(TokenArgs { stream_id: Some(id), server, .. }) => streams::token(&id, &server).await,
        Command::Broker(args) => {
            let settings = Settings::from_env().map_err(|error| Failure::new(Exit::Failed, error))?;
            logging::start(&settings)?;
            broker::run(&args, settings).await
        }
        Command::Compile { .. }
        | Command::Normalize(_)
        | Command::Key(_)
        | Command::Cost(_)
        | Command::Token(_) => Ok(()),
    }
}

/// Reads the settings of a process that serves, and begins to log as they say.
fn settings() -> Result<Settings, Failure> {
    let settings = Settings::from_env().map_err(|error| Failure::new(Exit::Failed, error))?;
    logging::start(&settings)?;
    Ok(settings)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
