//! The hidden command `kmslab exec-child`: binds a spawned process to its parent and then executes
//! the program.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::platform::{Guard, fallback};

/// Arguments of `kmslab exec-child`.
#[derive(Debug, clap::Args)]
pub struct ExecChildArgs {
    /// Pid of the parent; the program is not started if it is gone.
    #[arg(long)]
    parent: u32,
    /// How the child is bound to its parent.
    #[arg(long, value_enum, default_value_t = Guard::native())]
    guard: Guard,
    /// Watch this pid instead, for --guard watch.
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    watch: Option<u32>,
    /// The program and its arguments.
    #[arg(last = true, required_unless_present = "watch", value_name = "PROG")]
    command: Vec<OsString>,
}

/// Executes the program. Returns only on failure, with a shell's exit codes: 127 not found, 126 not
/// executable, 125 not bound to its parent.
pub fn run(args: ExecChildArgs) -> ExitCode {
    let ExecChildArgs {
        parent,
        guard,
        watch,
        command,
    } = args;
    if let Some(watched) = watch {
        return match fallback::watch(watched) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(125, &format!("cannot watch {watched}: {error}")),
        };
    }
    let error = guard.exec(parent, &command);
    let program = command
        .first()
        .map(|program| program.to_string_lossy().escape_debug().to_string())
        .unwrap_or_default();
    let code = match error.kind() {
        io::ErrorKind::NotFound => 127,
        io::ErrorKind::Other => 125,
        _ => 126,
    };
    fail(code, &format!("cannot run {program}: {error}"))
}

/// Standard error is the child's log, where the parent looks for the reason.
fn fail(code: u8, reason: &str) -> ExitCode {
    let line = format!("kmslab exec-child: {reason}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    ExitCode::from(code)
}
