//! Exit codes of errors: 1 a check failed, 2 usage, 3 environment.

use std::process::ExitCode;

/// An error with an exit code.
#[derive(Debug, thiserror::Error)]
pub enum ExitError {
    /// Wrong usage or configuration; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The environment lacks something; the message names it and the command that provides it; exit
    /// code 3.
    #[error("{0}")]
    Environment(String),
}

/// A usage error; the message contains the remedy.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    ExitError::Usage(message.into()).into()
}

/// An environment error; the message contains the remedy.
pub fn environment(message: impl Into<String>) -> anyhow::Error {
    ExitError::Environment(message.into()).into()
}

/// Returns the exit code of an error: that of the first cause with one, else 1.
pub fn code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<ExitError>())
        .map_or(1, |problem| match problem {
            ExitError::Usage(_) => 2,
            ExitError::Environment(_) => 3,
        })
}

/// `eprintln!` that escapes control characters and ignores a closed standard error.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let line = format!($($line)*);
        let _ = writeln!(std::io::stderr(), "{}", crate::printable::escape(&line));
    }};
}
pub(crate) use say;

/// Prints an error with its causes, each once, and returns its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    say!("error: {text}");
    ExitCode::from(code(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn exit_code_survives_context() {
        assert_eq!(code(&usage("no such scenario").context("run")), 2);
        assert_eq!(code(&environment("no etcd")), 3);
        assert_eq!(code(&anyhow::anyhow!("a check failed")), 1);
        let nested: anyhow::Result<()> = Err(environment("port taken")).context("starting");
        assert_eq!(code(&nested.unwrap_err()), 3);
    }
}
