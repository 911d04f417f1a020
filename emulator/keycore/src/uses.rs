//! Which versions a piece of work used, for an audit of every use of key material.

use std::cell::RefCell;

use crate::{KeyId, Realm, VersionId};

/// A use of a version's material. Uses that the version's state forbade are included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionUse {
    /// Realm of the key.
    pub realm: Realm,
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: VersionId,
    /// Number of the version in its key.
    pub number: u32,
}

thread_local! {
    /// The uses of the work that this thread records; `None` if it records none.
    static USES: RefCell<Option<Vec<VersionUse>>> = const { RefCell::new(None) };
}

/// Runs `work` and returns, besides its result, the versions that it used on this thread, in the
/// order of their use. An inner recording keeps its uses to itself.
pub fn record_uses<T>(work: impl FnOnce() -> T) -> (T, Vec<VersionUse>) {
    let outer = USES.replace(Some(Vec::new()));
    // Restored also if `work` panics.
    let restore = Restore(outer);
    let result = work();
    let uses = USES.take().unwrap_or_default();
    drop(restore);
    (result, uses)
}

struct Restore(Option<Vec<VersionUse>>);

impl Drop for Restore {
    fn drop(&mut self) {
        USES.set(self.0.take());
    }
}

/// Adds a use to the recording of this thread, if there is one.
pub(crate) fn note(make: impl FnOnce() -> VersionUse) {
    USES.with_borrow_mut(|uses| {
        if let Some(uses) = uses {
            uses.push(make());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(number: u32) -> VersionUse {
        VersionUse {
            realm: Realm::new("r"),
            key: KeyId::new("k"),
            version: VersionId::from_bytes([0; 32]),
            number,
        }
    }

    #[test]
    fn uses_belong_to_the_recording_in_which_they_happen() {
        note(|| used(1));
        let ((_, inner), outer) = record_uses(|| {
            note(|| used(2));
            let inner = record_uses(|| note(|| used(3)));
            note(|| used(4));
            inner
        });
        assert_eq!(inner, [used(3)]);
        assert_eq!(outer, [used(2), used(4)]);
        assert_eq!(record_uses(|| ()).1, []);
    }

    #[test]
    fn panic_ends_its_recording() {
        let panicked = std::panic::catch_unwind(|| record_uses(|| -> () { panic!("a bug") }));
        assert!(panicked.is_err());
        let mut made = false;
        note(|| {
            made = true;
            used(1)
        });
        assert!(!made, "nothing is recorded");
    }
}
