//! Linux: the parent-death signal, and process start times from /proc.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::{orphaned, parent_pid};

/// Requests SIGKILL at the death of the spawning thread, then executes `command`. The request
/// survives the exec (prctl(2), PR_SET_PDEATHSIG) unless the program is set-uid.
pub(super) fn exec(parent: u32, command: &[OsString]) -> io::Error {
    let Some((program, args)) = command.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program given");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // After the request, not before: otherwise a parent that dies in between would go unnoticed.
    if parent_pid() != parent {
        return orphaned(parent);
    }
    Command::new(program).args(args).exec()
}

/// Boot id and clock ticks since boot: field 22 of /proc/PID/stat (proc(5)). `None` for a zombie.
pub(super) fn start_time(pid: u32) -> io::Result<Option<String>> {
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // ESRCH: it exited between open and read.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let Some((state, ticks)) = parse_stat(&stat) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat is not as proc(5) says"),
        ));
    };
    if matches!(state, "Z" | "X") {
        return Ok(None);
    }
    // Ticks count from the boot, so they are ambiguous between boots.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(Some(format!("{}/{ticks}", boot.trim())))
}

const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

/// The name in field 2 may contain spaces and parentheses, so fields are counted from the last `)`.
fn parse_stat(stat: &str) -> Option<(&str, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_with_parentheses_does_not_shift_stat_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 0 0 0 5 6 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(parse_stat(stat), Some(("S", 98765)));
        assert_eq!(parse_stat("42 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }
}
