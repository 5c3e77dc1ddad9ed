//! What is wrong with a spec, and what was changed in it: all of it at once, each with its path.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where in the spec, such as `sources[0].symbols[2]`; empty for the spec itself.
    pub path: String,
    /// What is wrong and what to fix.
    pub message: String,
}

/// One thing that was ignored or changed on the way to the normalised spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Where in the spec that was given.
    pub path: String,
    /// What was done.
    pub message: String,
}

/// A spec that is refused: every problem found in it, the first twenty if there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The problems, in the order of the spec; never empty.
    pub problems: Vec<Problem>,
}

impl SpecError {
    /// A refusal for one reason.
    pub fn of(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { problems: vec![Problem { path: path.into(), message: message.into() }] }
    }
}

fn write_at(f: &mut fmt::Formatter<'_>, path: &str, message: &str) -> fmt::Result {
    if path.is_empty() { f.write_str(message) } else { write!(f, "{path}: {message}") }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_at(f, &self.path, &self.message)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_at(f, &self.path, &self.message)
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

/// Problems, and warnings, that are told of one spec at most: a list of a thousand wrong symbols is one mistake.
const MOST_TOLD: usize = 20;

/// Problems and warnings as they are found.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Report {
    pub(super) fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.has_room() {
            self.problems.push(Problem { path: path.into(), message: message.into() });
        }
    }

    pub(super) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.warnings.len() < MOST_TOLD {
            self.warnings.push(Warning { path: path.into(), message: message.into() });
        }
    }

    /// Whether one more problem would be told. What a problem says is worked out for those alone.
    pub(super) const fn has_room(&self) -> bool {
        self.problems.len() < MOST_TOLD
    }

    /// The value, or the problem recorded and `None`.
    pub(super) fn ok<T>(&mut self, path: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(error) if self.has_room() => self.problem(path, error.to_string()),
            Err(_) => {}
        }
        None
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// The warnings, unless there was a problem.
    pub(super) fn finish(self) -> Result<Vec<Warning>, SpecError> {
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(SpecError { problems: self.problems }) }
    }
}
