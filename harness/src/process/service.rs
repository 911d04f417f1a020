//! A program over several runs: killed and started again on command, or, in a lab that stays,
//! whenever it ends.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Child, Hold, ProcessError, Program};
use crate::runtime_dir::RuntimeDir;

/// Pause before a program that ended is started again: this, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A run of this length makes the next pause the first one again.
const STEADY: Duration = Duration::from_secs(10);
/// How long `start_again` waits for the supervisor: the longest pause and some.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// What happens when the program ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: who needs it notices.
    Once,
    /// It is started again, so that a person can restart it by killing its pid.
    Again,
}

/// One end of the program that nobody here had asked for.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its pid.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines of its log.
    pub tail: String,
}

/// A program of the lab. Dropped, it is killed.
#[derive(Debug)]
pub struct Service {
    inner: Arc<Inner>,
    supervisor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    program: Program,
    dir: Arc<RuntimeDir>,
    /// Whether it should run: not between `kill` and `start_again`.
    wanted: watch::Sender<bool>,
    /// The current run, or the last.
    child: watch::Sender<Arc<Child>>,
    /// The pid of the run that was last ended on command. `wanted` may be true again before the
    /// supervisor hears of that end.
    commanded: AtomicU32,
    ended: Mutex<Vec<Ended>>,
}

impl Service {
    /// Starts the program and notes its pid in the lab's state.
    pub fn start(program: Program, keep: Keep, dir: Arc<RuntimeDir>) -> Result<Self, ProcessError> {
        let child = start_noted(&program, &dir)?;
        let inner = Arc::new(Inner {
            program,
            dir,
            wanted: watch::Sender::new(true),
            child: watch::Sender::new(child),
            commanded: AtomicU32::new(0),
            ended: Mutex::default(),
        });
        let supervisor = (keep == Keep::Again).then(|| tokio::spawn(supervise(Arc::clone(&inner))));
        Ok(Self { inner, supervisor })
    }

    /// The current run, or the last.
    pub fn child(&self) -> Arc<Child> {
        Arc::clone(&self.inner.child.borrow())
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let child = self.child();
        child.status().is_none().then(|| child.pid())
    }

    /// What it runs.
    pub fn program(&self) -> &Program {
        &self.inner.program
    }

    /// The ends that led to a new start, in order.
    pub fn ended(&self) -> Vec<Ended> {
        self.inner.ended().clone()
    }

    /// SIGKILL, as a crash; it stays down until [`Service::start_again`].
    pub async fn kill(&self) -> Result<ExitStatus, ProcessError> {
        self.on_command().kill().await
    }

    /// The run that is about to be ended because somebody here wants it.
    fn on_command(&self) -> Arc<Child> {
        self.inner.wanted.send_replace(false);
        let child = self.child();
        self.inner.commanded.store(child.pid(), Ordering::SeqCst);
        child
    }

    /// Starts it again after [`Service::kill`], or after it ended; nothing where it runs.
    pub async fn start_again(&self) -> Result<(), ProcessError> {
        self.inner.wanted.send_replace(true);
        if self.pid().is_some() {
            return Ok(());
        }
        if self.supervisor.is_none() {
            self.inner
                .child
                .send_replace(start_noted(&self.inner.program, &self.inner.dir)?);
            return Ok(());
        }
        let mut child = self.inner.child.subscribe();
        let running = async {
            child
                .wait_for(|child| child.status().is_none())
                .await
                .is_ok()
        };
        if tokio::time::timeout(START_PATIENCE, running)
            .await
            .unwrap_or(false)
        {
            return Ok(());
        }
        let last = self.child();
        Err(last.ended(last.wait().await?))
    }

    /// Ends it for good: SIGTERM, and SIGKILL after `grace`.
    pub async fn stop(&self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        let child = self.on_command();
        let status = child.stop(grace).await?;
        self.inner
            .dir
            .forget(self.inner.program.name())
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
        // The run itself is killed when the last handle to it goes; it must not wait for those.
        if let Err(error) = self.child().kill_now() {
            tracing::warn!(%error, "a child may be left over");
        }
    }
}

impl Inner {
    fn ended(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_noted(program: &Program, dir: &RuntimeDir) -> Result<Arc<Child>, ProcessError> {
    let child = Arc::new(program.spawn()?);
    if let Some(started) = child.started() {
        let noted = dir.note(program.name(), child.pid(), started.clone());
        noted.map_err(ProcessError::io("writing the lab's state"))?;
    }
    Ok(child)
}

/// Starts the program again whenever it has ended, is wanted, and nobody holds it down.
async fn supervise(service: Arc<Inner>) {
    let mut pause = FIRST_PAUSE;
    let mut wanted = service.wanted.subscribe();
    loop {
        let child = Arc::clone(&service.child.borrow());
        let since = Instant::now();
        let Ok(status) = child.wait().await else {
            return;
        };
        pause = if since.elapsed() > STEADY {
            FIRST_PAUSE
        } else {
            pause
        };
        if service.commanded.load(Ordering::SeqCst) != child.pid() {
            tracing::warn!(name = service.program.name(), pid = child.pid(), %status, "ended; starting it again");
            service.ended().push(Ended {
                pid: child.pid(),
                status,
                tail: child.tail(12),
            });
        } else {
            // Killed on command, which is no reason to wait longer.
            pause = FIRST_PAUSE;
        }
        drop(child);
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if wanted.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            if let Err(error) = Hold::released(service.dir.path(), service.program.name()).await {
                tracing::warn!(%error, name = service.program.name(), "cannot look at the claims on it");
            }
            match start_noted(&service.program, &service.dir) {
                Ok(child) => {
                    service.child.send_replace(child);
                    break;
                }
                Err(error) => tracing::warn!(%error, "cannot start it again; trying on"),
            }
        }
    }
}
