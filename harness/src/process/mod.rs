//! Real child processes that can be killed, restarted and measured, and that never outlive the
//! process which started them.
//!
//! A child is started through `kmslab exec-child` ([`exec_child`]), which binds its life to ours
//! and then becomes the program, so the pid is the program's own. [`Child`] is one run of it;
//! [`Service`] is a program over several runs.

mod child;
mod error;
pub mod exec_child;
mod hold;
mod log;
mod program;
mod service;
mod spawner;

use std::io;
use std::path::PathBuf;

pub use child::Child;
pub use error::ProcessError;
pub use hold::Hold;
pub use log::tail;
pub use program::{Program, quoted};
pub use rustix::process::Signal;
pub use service::{Ended, Keep, Service};

/// The variable that names the kmslab binary, for programs that use kmslab as a library and are not
/// it.
pub const BINARY_VARIABLE: &str = "KMSLAB_BIN";

/// The kmslab binary that children are started through: `KMSLAB_BIN`, else the running program.
pub fn own_binary() -> io::Result<PathBuf> {
    if let Some(given) = std::env::var_os(BINARY_VARIABLE).filter(|given| !given.is_empty()) {
        return Ok(given.into());
    }
    let running = std::env::current_exe()?;
    // A lab that stays may outlive the file it was started from, as after a rebuild; Linux still
    // holds the program then.
    let held = PathBuf::from("/proc/self/exe");
    Ok(if !running.exists() && held.exists() {
        held
    } else {
        running
    })
}
