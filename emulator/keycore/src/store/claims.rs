//! Who changes what: changes of different keys wait for the device together, changes of one key
//! follow one another.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Names of what is being changed.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: Mutex<Held>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    names: HashSet<String>,
    /// Whether everything is claimed.
    all: bool,
}

/// A claim of some names, or of everything, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    names: Vec<String>,
}

impl Claims {
    /// Waits until none of the names is claimed, and claims them all at once, so that two claims
    /// never wait for each other.
    pub(super) fn take(&self, mut names: Vec<String>) -> Claim<'_> {
        names.sort_unstable();
        names.dedup();
        let is_taken =
            |held: &mut Held| held.all || names.iter().any(|name| held.names.contains(name));
        let mut held = self.wait_while(is_taken);
        held.names.extend(names.iter().cloned());
        Claim {
            claims: self,
            names,
        }
    }

    /// Waits until nothing is claimed, and claims everything.
    pub(super) fn take_all(&self) -> Claim<'_> {
        let mut held = self.wait_while(|held| held.all || !held.names.is_empty());
        held.all = true;
        Claim {
            claims: self,
            names: Vec::new(),
        }
    }

    fn wait_while(&self, is_taken: impl FnMut(&mut Held) -> bool) -> MutexGuard<'_, Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.released.wait_while(held, is_taken);
        held.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut held = self
            .claims
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &self.names[..] {
            [] => held.all = false,
            names => held.names.retain(|name| !names.contains(name)),
        }
        drop(held);
        self.claims.released.notify_all();
    }
}
