//! A run of a program.

use std::io;
use std::path::Path;
use std::process::{ChildStdin, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use tokio::sync::watch;

use super::{ProcessError, Program, log};
use crate::platform::{StartTime, pid, start_time};

/// Lines of the log in an error message.
const TAIL_LINES: usize = 12;

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    program: Program,
    pid: u32,
    started: Option<StartTime>,
    log_from: u64,
    group: Pid,
    /// Whether it was reaped; from then on its pid may be another process's.
    reaped: Arc<Mutex<bool>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    pub(super) fn new(
        program: Program,
        mut child: std::process::Child,
        log_from: u64,
    ) -> io::Result<Self> {
        let raw = child.id();
        let group =
            pid(raw).ok_or_else(|| io::Error::other(format!("the system gave the pid {raw}")))?;
        let started = start_time(raw).unwrap_or_default();
        let reaped = Arc::new(Mutex::new(false));
        let (sender, status) = watch::channel(None);
        // Held open until the end: with Guard::Watch closing it signals the parent's death, and
        // Child::wait closes it first.
        let input = child.stdin.take();
        let theirs = Arc::clone(&reaped);
        std::thread::Builder::new()
            .name(format!("wait {}", program.name()))
            .spawn(move || wait_for_end(child, group, input, &theirs, &sender))?;
        Ok(Self {
            program,
            pid: raw,
            started,
            log_from,
            group,
            reaped,
            status,
        })
    }

    /// Its process id, which is also its process group's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// With the pid, its identity. `None` if it exited too early to determine it.
    pub fn started(&self) -> Option<&StartTime> {
        self.started.as_ref()
    }

    /// The program that it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The file that its output is written to.
    pub fn log(&self) -> &Path {
        self.program.log()
    }

    /// The last lines that this run wrote to its log.
    pub fn tail(&self, lines: usize) -> String {
        log::tail(self.log(), self.log_from, lines)
    }

    /// Its exit status, once it has exited.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Sends a signal, unless the process has exited.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        self.send(|group| kill_process(group, signal))
    }

    /// Waits until it has exited.
    pub async fn wait(&self) -> Result<ExitStatus, ProcessError> {
        let mut status = self.status.clone();
        let ended = status.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|status| *status)
            .ok_or_else(|| ProcessError::Io {
                what: format!("waiting for {} (pid {})", self.program.name(), self.pid),
                source: io::Error::other("the thread that waits for it is gone"),
            })
    }

    /// Sends SIGTERM, and SIGKILL if it has not exited within `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(ended) => ended,
            Err(_) => self.kill().await,
        }
    }

    /// Sends SIGKILL to its process group, like a crash, and waits for its exit.
    pub async fn kill(&self) -> Result<ExitStatus, ProcessError> {
        self.kill_now()?;
        self.wait().await
    }

    /// Sends SIGKILL to its process group without waiting.
    pub fn kill_now(&self) -> Result<(), ProcessError> {
        self.send(|group| kill_process_group(group, Signal::KILL))
    }

    /// The error that describes its exit, with the end of its log.
    pub fn ended_error(&self, status: ExitStatus) -> ProcessError {
        ProcessError::Ended {
            name: self.program.name().into(),
            status,
            command: self.program.command_line(),
            log: self.log().into(),
            tail: self.tail(TAIL_LINES),
        }
    }

    fn send(&self, signal: impl FnOnce(Pid) -> rustix::io::Result<()>) -> Result<(), ProcessError> {
        let reaped = lock(&self.reaped);
        if *reaped {
            return Ok(());
        }
        match signal(self.group) {
            // macOS returns EPERM for a zombie, which has exited.
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => Ok(()),
            Err(error) => Err(ProcessError::io(format!(
                "signalling {} (pid {})",
                self.program.name(),
                self.pid
            ))(error.into())),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.kill_now() {
            tracing::warn!(%error, "a child may be left over");
        }
    }
}

/// Reaps the child under the lock, so that nobody signals a pid that belongs to another process.
fn wait_for_end(
    mut child: std::process::Child,
    id: Pid,
    input: Option<ChildStdin>,
    reaped: &Mutex<bool>,
    status: &watch::Sender<Option<ExitStatus>>,
) {
    while let Err(rustix::io::Errno::INTR) = waitid(
        WaitId::Pid(id),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    ) {}
    let mut reaped = lock(reaped);
    let ended = child.wait();
    *reaped = true;
    drop(reaped);
    drop(input);
    // An error drops the sender, which every waiter receives as an error.
    if let Ok(ended) = ended {
        status.send_replace(Some(ended));
    }
}

fn lock(mutex: &Mutex<bool>) -> MutexGuard<'_, bool> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
