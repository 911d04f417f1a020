//! Environment variables with which the vendors' tools and SDKs use an emulator, and not the cloud
//! or login of the shell that they are set in.

mod aws;
mod azure;
mod google;
mod program;
mod proxy;

use std::borrow::Cow;
use std::fmt;

pub use aws::AwsVariables;
pub use azure::azure_login;
pub use google::{gcloud_endpoints, google_login};
pub use program::{MissingPort, Program};
pub use proxy::ProxyVariables;

/// Changes of a shell's environment, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<Statement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Statement {
    Comment(String),
    Unset(Vec<&'static str>),
    Set(&'static str, String),
    /// Adds to a list that is separated by commas.
    Append(&'static str, &'static str),
    /// A command with its words.
    Run(Vec<String>),
}

impl Variables {
    /// Adds a comment of one line.
    #[must_use]
    pub fn comment(self, text: impl Into<String>) -> Self {
        self.with(Statement::Comment(text.into()))
    }

    /// Unsets variables, whether they are set or not.
    #[must_use]
    pub fn unset(self, names: &[&'static str]) -> Self {
        self.with(Statement::Unset(names.to_vec()))
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(self, name: &'static str, value: impl fmt::Display) -> Self {
        self.with(Statement::Set(name, value.to_string()))
    }

    /// Sets several variables to one value.
    #[must_use]
    pub fn set_all(self, names: &[&'static str], value: impl fmt::Display) -> Self {
        let value = value.to_string();
        names.iter().fold(self, |all, name| all.set(name, &value))
    }

    /// Adds to lists that are separated by commas.
    #[must_use]
    fn append(self, names: &[&'static str], value: &'static str) -> Self {
        let append = |name: &&'static str| Statement::Append(name, value);
        let mut all = self;
        all.0.extend(names.iter().map(append));
        all
    }

    /// Runs a command whose output goes to stderr.
    #[must_use]
    fn run<const N: usize>(self, words: [&str; N]) -> Self {
        self.with(Statement::Run(words.map(str::to_owned).to_vec()))
    }

    /// Appends other changes.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    fn with(mut self, statement: Statement) -> Self {
        self.0.push(statement);
        self
    }

    /// The same changes as comments, for a reader to choose from.
    #[must_use]
    pub fn commented_out(&self) -> Self {
        let lines = self.to_string();
        let comments = lines
            .lines()
            .map(|line| Statement::Comment(line.to_owned()));
        Self(comments.collect())
    }
}

/// Lines of a POSIX shell.
impl fmt::Display for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for statement in &self.0 {
            match statement {
                Statement::Comment(text) => writeln!(f, "# {text}")?,
                Statement::Unset(names) => writeln!(f, "unset {}", names.join(" "))?,
                Statement::Set(name, value) => writeln!(f, "export {name}={}", quote(value))?,
                Statement::Append(name, value) => {
                    writeln!(f, r#"export {name}="${{{name}:+${name},}}{value}""#)?;
                }
                Statement::Run(words) => {
                    let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
                    writeln!(f, "{} >&2", words.join(" "))?;
                }
            }
        }
        Ok(())
    }
}

/// Quotes a word for a shell. A shell's words have no NUL, nor do addresses and paths.
fn quote(word: &str) -> Cow<'_, str> {
    shlex::try_quote(word).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_quoted_for_a_shell() {
        let variables = Variables::default()
            .comment("first")
            .unset(&["A", "B"])
            .set("C", "http://127.0.0.1:1/")
            .set("D", "it's $HOME `x`")
            .append(&["E", "F"], "localhost");
        let script = format!("{variables}printf '%s|' \"${{A-none}}\" \"$C\" \"$D\" \"$E\" \"$F\"");
        let mut shell = std::process::Command::new("/bin/sh");
        shell.env("A", "stale").env("F", "corp.example");
        let output = shell.args(["-euc", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "none|http://127.0.0.1:1/|it's $HOME `x`|localhost|corp.example,localhost|"
        );
        let commented = variables.commented_out().to_string();
        assert!(commented.lines().all(|line| line.starts_with("# ")));
        assert_eq!(commented.lines().count(), 6);
    }
}
