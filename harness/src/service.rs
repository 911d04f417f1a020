//! A program over several runs: killed and restarted on request, or, in a lab that stays, whenever
//! it exits.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::process::{Child, Hold, ProcessError, Program};
use crate::runtime_dir::RuntimeDir;

/// Minimum delay before a program is restarted; doubled each time up to the maximum.
const MIN_RESTART_DELAY: Duration = Duration::from_millis(200);
const MAX_RESTART_DELAY: Duration = Duration::from_secs(10);
/// A run of this length resets the delay.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How long `restart` waits for the supervisor: the maximum delay and a margin.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// Whether a program that exits is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// It is not restarted.
    Never,
    /// It is restarted, so that a person can restart it by killing its pid.
    Always,
}

/// An exit that was not requested.
#[derive(Debug, Clone)]
pub struct UnexpectedExit {
    /// Its pid.
    pub pid: u32,
    /// Its exit status.
    pub status: ExitStatus,
    /// Last lines of its log.
    pub tail: String,
}

/// A program of the lab. Dropping it kills the program.
#[derive(Debug)]
pub struct Service {
    inner: Arc<Inner>,
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    program: Program,
    dir: Arc<RuntimeDir>,
    /// Whether it should run: false between `kill` and `restart`.
    wanted: watch::Sender<bool>,
    /// The current run, or the last one.
    child: watch::Sender<Arc<Child>>,
    /// Pid of the run that was last ended on request. `wanted` may be true again before the
    /// supervisor notices that exit.
    commanded: AtomicU32,
    ended: Mutex<Vec<UnexpectedExit>>,
}

impl Service {
    /// Starts the program and records its pid in the lab's state.
    pub fn start(
        program: Program,
        keep: RestartPolicy,
        dir: Arc<RuntimeDir>,
    ) -> Result<Self, ProcessError> {
        let child = spawn_recorded(&program, &dir)?;
        let inner = Arc::new(Inner {
            program,
            dir,
            wanted: watch::Sender::new(true),
            child: watch::Sender::new(child),
            commanded: AtomicU32::new(0),
            ended: Mutex::default(),
        });
        let supervisor =
            (keep == RestartPolicy::Always).then(|| tokio::spawn(supervise(Arc::clone(&inner))));
        Ok(Self { inner, supervisor })
    }

    /// The current run, or the last one.
    pub fn child(&self) -> Arc<Child> {
        Arc::clone(&self.inner.child.borrow())
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let child = self.child();
        child.status().is_none().then(|| child.pid())
    }

    /// The program that it runs.
    pub fn program(&self) -> &Program {
        &self.inner.program
    }

    /// The exits that led to a restart, in order.
    pub fn unexpected_exits(&self) -> Vec<UnexpectedExit> {
        self.inner.ended().clone()
    }

    /// Sends SIGKILL, like a crash; the program stays down until [`Service::restart`].
    pub async fn kill(&self) -> Result<ExitStatus, ProcessError> {
        self.mark_commanded().kill().await
    }

    /// The run that is about to be ended on request.
    fn mark_commanded(&self) -> Arc<Child> {
        self.inner.wanted.send_replace(false);
        let child = self.child();
        self.inner.commanded.store(child.pid(), Ordering::SeqCst);
        child
    }

    /// Starts it again after [`Service::kill`] or an exit; does nothing if it runs.
    pub async fn restart(&self) -> Result<(), ProcessError> {
        self.inner.wanted.send_replace(true);
        if self.pid().is_some() {
            return Ok(());
        }
        if self.supervisor.is_none() {
            self.inner
                .child
                .send_replace(spawn_recorded(&self.inner.program, &self.inner.dir)?);
            return Ok(());
        }
        let mut child = self.inner.child.subscribe();
        let running = async {
            child
                .wait_for(|child| child.status().is_none())
                .await
                .is_ok()
        };
        if tokio::time::timeout(START_TIMEOUT, running)
            .await
            .unwrap_or(false)
        {
            return Ok(());
        }
        let last = self.child();
        Err(last.ended_error(last.wait().await?))
    }

    /// Ends it for good: SIGTERM, and SIGKILL after `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        let child = self.mark_commanded();
        let status = child.stop(grace).await?;
        self.inner
            .dir
            .remove_process(self.inner.program.name())
            .map_err(ProcessError::io("writing the lab's state"))?;
        Ok(status)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.inner.wanted.send_replace(false);
        if let Some(supervisor) = &self.supervisor {
            supervisor.abort();
        }
        // The run is killed when its last handle is dropped; this must not wait for other handles.
        if let Err(error) = self.child().kill_now() {
            tracing::warn!(%error, "a child may be left over");
        }
    }
}

impl Inner {
    fn ended(&self) -> MutexGuard<'_, Vec<UnexpectedExit>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn_recorded(program: &Program, dir: &RuntimeDir) -> Result<Arc<Child>, ProcessError> {
    let child = Arc::new(program.spawn()?);
    if let Some(started) = child.started() {
        let noted = dir.record_process(program.name(), child.pid(), started.clone());
        noted.map_err(ProcessError::io("writing the lab's state"))?;
    }
    Ok(child)
}

/// Restarts the program whenever it has exited, is wanted, and nobody holds it down.
async fn supervise(service: Arc<Inner>) {
    let mut pause = MIN_RESTART_DELAY;
    let mut wanted = service.wanted.subscribe();
    loop {
        let child = Arc::clone(&service.child.borrow());
        let since = Instant::now();
        let Ok(status) = child.wait().await else {
            return;
        };
        pause = if since.elapsed() > STABLE_AFTER {
            MIN_RESTART_DELAY
        } else {
            pause
        };
        if service.commanded.load(Ordering::SeqCst) != child.pid() {
            tracing::warn!(name = service.program.name(), pid = child.pid(), %status, "ended; starting it again");
            service.ended().push(UnexpectedExit {
                pid: child.pid(),
                status,
                tail: child.tail(12),
            });
        } else {
            // Ended on request, which does not increase the delay.
            pause = MIN_RESTART_DELAY;
        }
        drop(child);
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RESTART_DELAY);
            if wanted.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            if let Err(error) =
                Hold::wait_until_released(service.dir.path(), service.program.name()).await
            {
                tracing::warn!(%error, name = service.program.name(), "cannot look at the claims on it");
            }
            match spawn_recorded(&service.program, &service.dir) {
                Ok(child) => {
                    service.child.send_replace(child);
                    break;
                }
                Err(error) => tracing::warn!(%error, "cannot start it again; trying on"),
            }
        }
    }
}
