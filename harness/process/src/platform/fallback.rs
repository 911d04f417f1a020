//! For kernels without a parent-death signal: a watcher process for each child. Built on Linux too,
//! so that its test runs there.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Signal, kill_process_group};

use super::{orphaned, parent_pid, pid};

/// How long a watcher may outlive the program that it watches.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Starts a watcher and executes `command`, which keeps the pid that its parent knows. Standard
/// input must be a pipe whose other end only the parent holds; the watcher inherits it, the program
/// gets /dev/null.
pub(super) fn exec(parent: u32, command: &[OsString]) -> io::Error {
    match prepare(parent, command) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}

fn prepare(parent: u32, command: &[OsString]) -> io::Result<Command> {
    let Some((program, args)) = command.split_first() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no program given",
        ));
    };
    if parent_pid() != parent {
        return Err(orphaned(parent));
    }
    Command::new(crate::own_binary()?)
        .args([
            "exec-child",
            "--parent",
            &parent.to_string(),
            "--watch",
            &std::process::id().to_string(),
        ])
        .stdout(Stdio::null())
        // In its own process group: it must survive killing the program's.
        .process_group(0)
        .spawn()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}

/// The watcher: kills the process group `watched`, of its own parent, when standard input ends.
/// Ends with either.
pub(crate) fn watch(watched: u32) -> io::Result<()> {
    let group = pid(watched).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{watched} is not a pid"),
        )
    })?;
    let (ended, end) = channel();
    std::thread::Builder::new()
        .name("parent".into())
        .spawn(move || {
            let mut input = io::stdin().lock();
            let mut buffer = [0; 64];
            // Data from the parent is ignored; an error means that the parent is gone as well.
            while input.read(&mut buffer).is_ok_and(|read| read > 0) {}
            let _ = ended.send(());
        })?;
    // While the program is the watcher's parent, its pid cannot be reused.
    while parent_pid() == watched {
        match end.recv_timeout(POLL_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if parent_pid() == watched {
                    kill_process_group(group, Signal::KILL)?;
                }
                break;
            }
        }
    }
    Ok(())
}

/// Start time by ps(1), in seconds, as POSIX has no call for it. `None` for a zombie.
#[cfg_attr(
    target_os = "linux",
    expect(dead_code, reason = "/proc is better where there is one")
)]
pub(super) fn start_time(ps: &Path, pid: u32) -> io::Result<Option<String>> {
    let answer = Command::new(ps)
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stderr(Stdio::null())
        .output()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot run {}: {error}", ps.display()),
            )
        })?;
    Ok(parse_start_time(&String::from_utf8_lossy(&answer.stdout)))
}

/// Parses `Ss   Tue Nov 24 13:55:31 2026`, or nothing if there is no such process.
fn parse_start_time(answer: &str) -> Option<String> {
    let mut words = answer.split_ascii_whitespace();
    let state = words.next()?;
    let started = words.collect::<Vec<_>>().join(" ");
    (!state.starts_with('Z') && !started.is_empty()).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_output_distinguishes_missing_and_zombie_processes() {
        assert_eq!(
            parse_start_time("Ss   Tue Nov 24 13:55:31 2026\n").unwrap(),
            "Tue Nov 24 13:55:31 2026"
        );
        assert_eq!(parse_start_time("Z+   Tue Nov 24 13:55:31 2026\n"), None);
        assert_eq!(parse_start_time("\n"), None);
    }
}
