//! The hidden verb `kmslab exec-child`: what a child runs between being spawned and being the
//! program.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use crate::exit::say;
use crate::platform::{Guard, fallback};

/// Arguments of `kmslab exec-child`.
#[derive(Debug, clap::Args)]
pub struct ExecChildArgs {
    /// Pid of the process that starts the child; it is not started if that is gone.
    #[arg(long)]
    parent: u32,
    /// How the child is bound to the parent's life.
    #[arg(long, value_enum, default_value_t = Guard::native())]
    guard: Guard,
    /// Be the watcher of this pid instead, for --guard watch.
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    watch: Option<u32>,
    /// The program and its arguments.
    #[arg(last = true, required_unless_present = "watch", value_name = "PROG")]
    command: Vec<OsString>,
}

/// Becomes the program. Returns only if it can't, with the exit code that shells use for the
/// reason: 127 no such program, 126 not to be run, 125 not bound to its parent.
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
            Err(error) => refuse(125, &format!("cannot watch {watched}: {error}")),
        };
    }
    let error = guard.exec(parent, &command);
    let program = command
        .first()
        .map(|program| program.to_string_lossy())
        .unwrap_or_default();
    let code = match error.kind() {
        io::ErrorKind::NotFound => 127,
        io::ErrorKind::Other => 125,
        _ => 126,
    };
    refuse(code, &format!("cannot run {program}: {error}"))
}

/// Standard error is the child's log, where whoever waits for the child looks for the reason.
fn refuse(code: u8, reason: &str) -> ExitCode {
    say!("kmslab exec-child: {reason}");
    ExitCode::from(code)
}
