//! Child processes that can be killed, restarted and measured, and that never outlive their parent.
//!
//! A child is started through `kmslab exec-child` ([`exec_child`]), which binds it to its parent
//! and then executes the program, so that the pid is the program's own. [`Child`] is one run,
//! which a [`Hold`] keeps from starting.

mod child;
mod error;
pub mod exec_child;
mod hold;
mod log;
pub mod platform;
mod program;
mod spawner;

use std::io;
use std::path::PathBuf;

pub use child::Child;
pub use error::ProcessError;
pub use hold::Hold;
pub use log::tail;
pub use program::{Program, shell_quote};
pub use rustix::process::Signal;

/// Variable with the path of the kmslab binary, for programs that use kmslab as a library.
pub const BINARY_VARIABLE: &str = "KMSLAB_BIN";

/// The kmslab binary that spawns children: `KMSLAB_BIN`, else the running program.
pub fn own_binary() -> io::Result<PathBuf> {
    if let Some(given) = std::env::var_os(BINARY_VARIABLE).filter(|given| !given.is_empty()) {
        return Ok(given.into());
    }
    let running = std::env::current_exe()?;
    // A lab may outlive its program's file, as after a rebuild; Linux still has the program open.
    let held = PathBuf::from("/proc/self/exe");
    Ok(if !running.exists() && held.exists() {
        held
    } else {
        running
    })
}
