//! What a failure means to whoever called the command: its exit code: 1 a check failed, 2 usage, 3
//! environment.

use std::process::ExitCode;

/// A failure whose meaning the command line must know.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Wrong usage or configuration; exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The environment lacks something, which the text names with the command that gets it; exit
    /// code 3.
    #[error("{0}")]
    Environment(String),
}

/// Wrong usage, with its remedy in the text.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    Problem::Usage(message.into()).into()
}

/// Something is missing, with its remedy in the text.
pub fn environment(message: impl Into<String>) -> anyhow::Error {
    Problem::Environment(message.into()).into()
}

/// The exit code of an error: that of the first cause that names one, else 1.
pub fn code(error: &anyhow::Error) -> u8 {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Problem>())
        .map_or(1, |problem| match problem {
            Problem::Usage(_) => 2,
            Problem::Environment(_) => 3,
        })
}

/// `eprintln!` that shows what a terminal would obey, and goes on where standard error is closed:
/// who has closed it is not to be told.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let line = format!($($line)*);
        let _ = writeln!(std::io::stderr(), "{}", crate::printable::shown(&line));
    }};
}
pub(crate) use say;

/// Prints an error with its causes, each once, and gives its exit code.
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
    fn the_code_survives_context() {
        assert_eq!(code(&usage("no such scenario").context("run")), 2);
        assert_eq!(code(&environment("no etcd")), 3);
        assert_eq!(code(&anyhow::anyhow!("a check failed")), 1);
        let nested: anyhow::Result<()> = Err(environment("port taken")).context("starting");
        assert_eq!(code(&nested.unwrap_err()), 3);
    }
}
