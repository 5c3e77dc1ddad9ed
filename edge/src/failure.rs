//! Why a process ends: what to tell the person who started it, and the exit code.

use std::fmt;

/// What a script learns from the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It failed for a reason of this machine.
    Failed = 1,
    /// The sentence, spec or file was not understood.
    NotUnderstood = 3,
    /// The server could not be reached.
    Unreachable = 4,
    /// The server refused.
    Refused = 5,
}

/// Why a command ends: what to tell the person, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure with this exit code and message.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

/// What every subcommand gives.
pub type Outcome = Result<(), Failure>;
