//! A program with its arguments, environment and log.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Child, ProcessError, own_binary, spawner};
use crate::platform::Guard;

/// Variables that a child inherits. All others are removed: etcd reads every flag from `ETCD_*`,
/// SDKs read keys from `AWS_*`.
const INHERITED_VARIABLES: [&str; 7] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "TZ",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// A program that can be started repeatedly.
#[derive(Clone)]
pub struct Program {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: PathBuf,
    through: Option<PathBuf>,
    guard: Guard,
}

impl Program {
    /// Creates a program with its name in the lab and the file that its output is appended to.
    pub fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.into(),
            through: None,
            guard: Guard::native(),
        }
    }

    /// Adds an argument. It must not be secret: every user of the machine can read it.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Spawns children with this kmslab binary instead of [`own_binary`], as tests must.
    #[must_use]
    pub fn spawner(mut self, kmslab: impl Into<PathBuf>) -> Self {
        self.through = Some(kmslab.into());
        self
    }

    /// Sets how children are bound to this process, instead of the system's default.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that its output is written to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The command line as typed in a shell, without variables: they may be secret.
    pub fn command_line(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str));
        words
            .map(|word| shell_quote(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Starts the program.
    pub fn spawn(&self) -> Result<Child, ProcessError> {
        self.check_executable()?;
        let (log, from) = self.open_log()?;
        let through = match &self.through {
            Some(given) => given.clone(),
            None => own_binary()
                .map_err(|source| self.spawn_error("the running program".into(), source))?,
        };
        let command = self
            .command(&through, log)
            .map_err(|source| self.spawn_error(through.clone(), source))?;
        let child =
            spawner::spawn(command).map_err(|source| self.spawn_error(through.clone(), source))?;
        Child::new(self.clone(), child, from).map_err(|source| self.spawn_error(through, source))
    }

    fn command(&self, through: &Path, log: File) -> std::io::Result<Command> {
        let guard = match self.guard {
            Guard::Signal => "signal",
            Guard::Watch => "watch",
        };
        let mut command = Command::new(through);
        command
            .args([
                "exec-child",
                "--parent",
                &std::process::id().to_string(),
                "--guard",
                guard,
                "--",
            ])
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(
                INHERITED_VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if self.guard == Guard::Watch {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(log.try_clone()?)
            .stderr(log)
            // A process group of its own, so that Ctrl-C reaches only this process, which ends its
            // children in order.
            .process_group(0);
        Ok(command)
    }

    fn check_executable(&self) -> Result<(), ProcessError> {
        let executable = std::fs::metadata(&self.program)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        if executable {
            return Ok(());
        }
        Err(ProcessError::NotExecutable {
            name: self.name.clone(),
            path: self.program.clone(),
        })
    }

    /// Opens the log; returns where this run's part begins.
    fn open_log(&self) -> Result<(File, u64), ProcessError> {
        let failed = |source| ProcessError::Log {
            name: self.name.clone(),
            log: self.log.clone(),
            source,
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(failed)?;
        let from = file.metadata().map_err(failed)?.len();
        Ok((file, from))
    }

    fn spawn_error(&self, through: PathBuf, source: std::io::Error) -> ProcessError {
        ProcessError::Spawn {
            name: self.name.clone(),
            through,
            source,
        }
    }
}

impl std::fmt::Debug for Program {
    /// Omits the environment, which may contain credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("name", &self.name)
            .field("line", &self.command_line())
            .finish_non_exhaustive()
    }
}

/// Quotes a word for a shell if needed.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_quoted_and_has_no_variables() {
        let program = Program::new("x", "/bin/echo", "/tmp/x.log")
            .args(["a b", "", "it's", "--f=1"])
            .env("TOKEN", "s3cret");
        assert_eq!(
            program.command_line(),
            r"/bin/echo 'a b' '' 'it'\''s' --f=1"
        );
        assert!(!format!("{program:?}").contains("s3cret"));
    }

    #[test]
    fn missing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Program::new("etcd", dir.path().join("etcd"), dir.path().join("etcd.log"))
            .spawn()
            .unwrap_err();
        assert!(
            error.to_string().starts_with("cannot start etcd: /"),
            "{error}"
        );
        let error = Program::new("sh", "/bin/sh", dir.path().join("no/such/log"))
            .spawn()
            .unwrap_err();
        assert!(
            error.to_string().contains("cannot write its log"),
            "{error}"
        );
    }
}
