//! Faults: which requests are answered as on a cloud's bad day, and how.
//!
//! The pipeline asks for a [`Decision`] about each call. Without faults that costs one atomic load.

pub(crate) mod catalog;
mod entry;
pub(crate) mod wrong;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use kmslab_emulator_api::{Effect, Fault, FaultFile, FaultTable, InvalidFault, ResetAt, Wrong};
use kmslab_keycore::Clock;
use tokio_util::sync::CancellationToken;

use super::{Call, Labels};
use crate::http::connection::Connection;
use catalog::{Catalog, validate};
pub(crate) use entry::Subject;
use entry::{Candidate, Entry};

/// Maximum number of faults. Each is looked at with every request.
const MAX_FAULTS: usize = 256;

/// A rejection that a front end expresses as its vendor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection<'a> {
    /// With `Retry-After`.
    Throttled(Option<Duration>),
    /// The error with this code.
    Error(&'a str),
    PermissionRevoked,
    KeyDisabled,
    KeyGone,
    TokenExpired,
}

/// What happens to a call.
pub(crate) struct Decision<C: Call> {
    /// Time to wait first.
    pub(crate) delay: Duration,
    /// What comes in place of running the call; `None` if it runs.
    pub(crate) ending: Option<Ending<C>>,
    /// What is wrong with the response, with the id of the fault.
    pub(crate) wrong: Vec<(u64, Wrong)>,
    /// The fault that resets the connection in the middle of a successful response.
    pub(crate) cut: Option<u64>,
    /// All faults that do something.
    pub(crate) applied: Applied,
}

/// Faults that were applied to a call, with their ids.
#[derive(Debug, Default)]
pub(crate) struct Applied(Vec<(u64, String)>);

impl Applied {
    fn add(&mut self, entry: &Entry) {
        let name = entry.fault.name.clone().unwrap_or_default();
        self.0.push((entry.id, name));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes a fault that could change nothing.
    pub(crate) fn remove(&mut self, id: u64) {
        self.0.retain(|(applied, _)| *applied != id);
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.0.into_iter().map(|(_, name)| name).collect()
    }
}

impl<C: Call> Default for Decision<C> {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            ending: None,
            wrong: Vec::new(),
            cut: None,
            applied: Applied::default(),
        }
    }
}

/// What comes in place of running a call.
pub(crate) enum Ending<C: Call> {
    /// A response. Token endpoints answer errors as they answer tokens.
    Answered(Result<C::Output, C::Error>),
    /// A reset connection.
    Reset(Connection),
    /// A connection that is closed after that time. A call whose fault is removed meanwhile runs.
    Hang {
        timeout: Option<Duration>,
        removed: CancellationToken,
        connection: Connection,
    },
}

/// Why a fault is not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddFaultError {
    /// A field has a value that no request can match.
    #[error(transparent)]
    Invalid(#[from] InvalidFault),
    /// The name is used.
    #[error("there is a fault {0} already; remove it first or choose another name")]
    Exists(String),
    /// The limit is reached.
    #[error("there are {MAX_FAULTS} faults already; remove some first")]
    TooMany,
}

/// The faults of an emulator.
#[derive(Debug)]
pub(crate) struct Faults {
    lab: Arc<dyn Clock>,
    wall: Arc<dyn Clock>,
    /// Whether there is any fault.
    armed: AtomicBool,
    registry: Mutex<Registry>,
    /// Faults of the start and of a reset.
    initial: FaultFile,
    catalogs: Vec<Catalog>,
}

#[derive(Debug, Default)]
struct Registry {
    entries: Vec<Entry>,
    seed: u64,
    /// Number of faults that were added since the seed was set.
    added: u64,
    /// Number of faults that were ever added.
    ids: u64,
}

impl Faults {
    /// Creates the faults of a start. Random decisions depend on the seed only, which is random if
    /// there is none.
    pub(crate) fn new(
        mut initial: FaultFile,
        catalogs: Vec<Catalog>,
        lab: Arc<dyn Clock>,
        wall: Arc<dyn Clock>,
    ) -> Result<Self, AddFaultError> {
        initial.seed.get_or_insert_with(|| fastrand::u64(..));
        let faults = Self {
            lab,
            wall,
            armed: AtomicBool::new(false),
            registry: Mutex::default(),
            initial: initial.clone(),
            catalogs,
        };
        faults.add_all(initial)?;
        Ok(faults)
    }

    /// Whether there is any fault.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Adds a fault behind the others and returns its name.
    pub(crate) fn add(&self, fault: Fault) -> Result<String, AddFaultError> {
        let mut names = self.add_all(FaultFile {
            seed: None,
            faults: vec![fault],
        })?;
        Ok(names.pop().unwrap_or_default())
    }

    /// Adds faults behind the others, all or none, and returns their names.
    pub(crate) fn add_all(&self, file: FaultFile) -> Result<Vec<String>, AddFaultError> {
        let FaultFile { seed, faults } = file;
        for fault in &faults {
            validate(fault, &self.catalogs)?;
        }
        let now = self.lab.now();
        let mut registry = self.lock();
        if registry.entries.len() + faults.len() > MAX_FAULTS {
            return Err(AddFaultError::TooMany);
        }
        let mut named: Vec<Fault> = Vec::with_capacity(faults.len());
        for mut fault in faults {
            let is_taken = |name: &str| {
                let running = registry.entries.iter().map(|entry| &entry.fault);
                running
                    .chain(&named)
                    .any(|other| other.name.as_deref() == Some(name))
            };
            match &fault.name {
                Some(name) if is_taken(name) => return Err(AddFaultError::Exists(name.clone())),
                Some(_) => {}
                None => {
                    let kind = fault.effect.kind();
                    let free = (1..).map(|n| format!("{kind}-{n}"));
                    fault.name = free.into_iter().find(|name| !is_taken(name));
                }
            }
            named.push(fault);
        }
        let names = named.iter().filter_map(|fault| fault.name.clone());
        let names = names.collect();
        if let Some(seed) = seed {
            (registry.seed, registry.added) = (seed, 0);
        }
        for fault in named {
            registry.added += 1;
            registry.ids += 1;
            // A generator of its own for each, so that one fault's draws do not depend on the
            // requests of another.
            let rng = Rng::with_seed(registry.seed.wrapping_add(registry.added)).fork();
            let entry = Entry::new(registry.ids, fault, rng, now);
            registry.entries.push(entry);
        }
        self.armed
            .store(!registry.entries.is_empty(), Ordering::Release);
        Ok(names)
    }

    /// Removes a fault. Returns whether there was one.
    pub(crate) fn remove(&self, name: &str) -> bool {
        self.retain(|entry| entry.fault.name.as_deref() != Some(name)) > 0
    }

    /// Removes all faults and returns their number.
    pub(crate) fn clear(&self) -> usize {
        self.retain(|_| false)
    }

    fn retain(&self, keep: impl Fn(&Entry) -> bool) -> usize {
        let mut registry = self.lock();
        let before = registry.entries.len();
        registry.entries.retain(|entry| {
            let keep = keep(entry);
            if !keep {
                entry.removed.cancel();
            }
            keep
        });
        self.armed
            .store(!registry.entries.is_empty(), Ordering::Release);
        before - registry.entries.len()
    }

    /// Restores the faults of the start, which were valid there. They draw as after the start.
    pub(crate) fn reset(&self) {
        self.clear();
        if let Err(error) = self.add_all(self.initial.clone()) {
            tracing::error!(%error, "the faults of the start are lost");
        }
    }

    /// All faults with their hits.
    pub(crate) fn table(&self) -> FaultTable {
        let registry = self.lock();
        FaultTable {
            seed: registry.seed,
            faults: registry.entries.iter().map(Entry::status).collect(),
        }
    }

    /// Decides what happens to a call. Faults are considered in the order in which they were added:
    /// delays and wrong answers add up, and the first that ends the call is the last.
    pub(crate) fn decide<C: Call>(
        &self,
        labels: &Labels,
        call: &C,
        connection: Option<&Connection>,
    ) -> Decision<C> {
        let mut decision = Decision::default();
        let (lab_now, wall_now) = (self.lab.now(), self.wall.now());
        let candidate = Candidate {
            cloud: C::CLOUD,
            operation: &labels.operation,
            caller: &labels.caller,
        };
        let mut subject = None;
        let mut registry = self.lock();
        for entry in &mut registry.entries {
            if !entry.matches(&candidate, lab_now) {
                continue;
            }
            if entry.selects_by_subject() {
                let subject = subject.get_or_insert_with(|| call.subject());
                if !entry.matches_subject(subject.as_ref()) {
                    continue;
                }
            }
            let Some(step) = Step::of(entry, call, connection) else {
                continue;
            };
            if !entry.draw(wall_now) {
                continue;
            }
            decision.applied.add(entry);
            match step {
                Step::Delay { min, max } => {
                    let range = nanoseconds(min)..=nanoseconds(max);
                    decision.delay += Duration::from_nanos(entry.rng().u64(range));
                }
                Step::Wrong(wrong) => decision.wrong.push((entry.id, wrong)),
                Step::Cut => decision.cut = Some(entry.id),
                Step::End(ending) => {
                    decision.ending = Some(ending);
                    break;
                }
            }
        }
        decision
    }

    /// Uncounts the hit of a fault that could change nothing.
    pub(crate) fn take_back(&self, id: u64) {
        let mut registry = self.lock();
        if let Some(entry) = registry.entries.iter_mut().find(|entry| entry.id == id) {
            entry.take_back();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one fault does to a call.
enum Step<C: Call> {
    Delay { min: Duration, max: Duration },
    Wrong(Wrong),
    Cut,
    End(Ending<C>),
}

impl<C: Call> Step<C> {
    /// Returns `None` if the effect does not exist for the call.
    fn of(entry: &Entry, call: &C, connection: Option<&Connection>) -> Option<Self> {
        let rejection = match &entry.fault.effect {
            Effect::Latency { min, max } => {
                return Some(Self::Delay {
                    min: *min,
                    max: *max,
                });
            }
            Effect::Hang { timeout } => {
                return Some(Self::End(Ending::Hang {
                    timeout: *timeout,
                    removed: entry.removed.clone(),
                    connection: connection?.clone(),
                }));
            }
            Effect::Reset(ResetAt::Start) => {
                return Some(Self::End(Ending::Reset(connection?.clone())));
            }
            Effect::Reset(ResetAt::Middle) => return connection.map(|_| Self::Cut),
            Effect::Wrong(wrong) => return Some(Self::Wrong(*wrong)),
            Effect::Throttle { retry_after } => Rejection::Throttled(*retry_after),
            Effect::Error { code } => Rejection::Error(code),
            Effect::PermissionRevoked => Rejection::PermissionRevoked,
            Effect::KeyDisabled => Rejection::KeyDisabled,
            Effect::KeyGone => Rejection::KeyGone,
            Effect::TokenExpired => Rejection::TokenExpired,
        };
        let outcome = call.rejected(rejection)?;
        Some(Self::End(Ending::Answered(outcome)))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
