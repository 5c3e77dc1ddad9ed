//! Strict reading of settings. All problems are reported at once.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

/// All problems with the settings, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<String>);

impl Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "settings cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for SettingsError {}

/// Returns the text of a variable, if it is set: from the process's environment, or from a test.
pub type Variables<'g> = &'g dyn Fn(&str) -> Option<String>;

/// Reads variables and collects the problems with them. A variable with a problem reads as its default, so that the rest is checked too.
pub struct Reader<'g> {
    get: Variables<'g>,
    problems: Vec<String>,
}

impl<'g> Reader<'g> {
    /// A reader of the variables that `get` returns.
    pub const fn new(get: Variables<'g>) -> Self {
        Self { get, problems: Vec::new() }
    }

    /// Returns `settings`, unless there was a problem.
    ///
    /// # Errors
    /// [`SettingsError`] with every problem.
    pub fn finish<T>(self, settings: T) -> Result<T, SettingsError> {
        if self.problems.is_empty() { Ok(settings) } else { Err(SettingsError(self.problems)) }
    }

    /// Adds a problem: what is wrong, and what to do about it.
    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// A text, trimmed; `None` if it is empty or not set.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A text that must be set.
    pub fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.problem(format!("{name} is not set"));
            String::new()
        })
    }

    /// A URL that must be set and begin with one of `schemes`, such as `https`. Slashes at its end are removed.
    pub fn url(&mut self, name: &str, schemes: &[&str]) -> String {
        let url = self.required(name);
        let is_of = |scheme: &&str| url.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"));
        if !url.is_empty() && !schemes.iter().any(is_of) {
            // The message does not show the URL, which may contain a password.
            self.problem(format!("{name} must be a URL of {}", schemes.join(" or ")));
        }
        url.trim_end_matches('/').to_owned()
    }

    /// A number from `least` to `most`.
    pub fn number<T: FromStr + PartialOrd + Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<T>() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.problem(format!("{name} must be a number from {least} to {most}: {text}"));
                default
            }
        }
    }

    /// A number of seconds.
    pub fn seconds(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_secs(self.number(name, default, least, most))
    }

    /// A number of milliseconds.
    pub fn millis(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(name, default, least, most))
    }

    /// The index in `names` of the variable's text, ignoring case; 0 if nothing is set.
    pub fn choice<const N: usize>(&mut self, name: &str, names: [&str; N]) -> usize {
        let Some(text) = self.text(name) else { return 0 };
        names.iter().position(|known| known.eq_ignore_ascii_case(&text)).unwrap_or_else(|| {
            self.problem(format!("{name} must be one of {}: {text}", names.join(", ")));
            0
        })
    }

    /// `true` or `false`; `false` if nothing is set.
    pub fn flag(&mut self, name: &str) -> bool {
        self.choice(name, ["false", "true"]) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str) -> Option<String> {
        let value = match name {
            "BLANK" => " ",
            "PADDED" => " x\n",
            "NUMBER" => "7",
            "MANY" => "many",
            "YES" => "TRUE",
            "URL" => "rediss://cache:6379/",
            "SECRETIVE" => "http://user:password@cache",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn what_is_right_is_taken() {
        let mut reader = Reader::new(&given);
        assert_eq!((reader.text("BLANK"), reader.text("PADDED")), (None, Some("x".to_owned())));
        assert_eq!((reader.number("NUMBER", 1, 0, 7), reader.number("UNSET", 1, 0, 7)), (7, 1));
        assert_eq!(reader.seconds("NUMBER", 1, 0, 7), Duration::from_secs(7));
        assert_eq!((reader.flag("YES"), reader.flag("UNSET")), (true, false));
        assert_eq!(reader.url("URL", &["redis", "rediss"]), "rediss://cache:6379");
        assert_eq!(reader.finish(()), Ok(()));
    }

    #[test]
    fn everything_that_is_wrong_is_reported_and_no_password() {
        let mut reader = Reader::new(&given);
        reader.required("BLANK");
        reader.number("MANY", 1, 0, 7);
        reader.number("NUMBER", 1, 0, 6);
        reader.flag("MANY");
        reader.url("SECRETIVE", &["redis", "rediss"]);
        let SettingsError(problems) = reader.finish(()).expect_err("problems");
        for (problem, name) in problems.iter().zip(["BLANK", "MANY", "NUMBER", "MANY", "SECRETIVE"]) {
            assert!(problem.starts_with(name) && !problem.contains("password"), "{problem}");
        }
        assert_eq!(problems.len(), 5);
    }
}
