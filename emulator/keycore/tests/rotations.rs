//! Due rotations: what they block, how they are interrupted, and how many are made.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use common::KeyCore;
use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Entropy, KeyId, ManualClock, MemoryStore, NewKey, NewVersion, Period, Purpose,
    Realm, RotationPolicy, SystemEntropy, Trigger,
};

const DAY: Duration = Duration::from_hours(24);

/// Once closed, holds the first caller that wants random bytes until it is opened.
#[derive(Debug)]
struct Gate {
    closed: AtomicBool,
    held: Barrier,
    opened: Barrier,
    /// How often somebody wanted random bytes.
    drawn: AtomicUsize,
}

impl Entropy for Gate {
    fn fill(&self, out: &mut [u8]) {
        self.drawn.fetch_add(1, Ordering::SeqCst);
        if self.closed.swap(false, Ordering::SeqCst) {
            self.held.wait();
            self.opened.wait();
        }
        SystemEntropy.fill(out);
    }
}

struct Lab {
    core: KeyCore,
    clock: ManualClock,
    realm: Realm,
    gate: Arc<Gate>,
}

impl Lab {
    fn new() -> Self {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let gate = Arc::new(Gate {
            closed: AtomicBool::new(false),
            held: Barrier::new(2),
            opened: Barrier::new(2),
            drawn: AtomicUsize::new(0),
        });
        let core = KeyCore::new(
            Arc::new(MemoryStore::default()),
            Arc::new(clock.clone()),
            Arc::clone(&gate) as _,
        );
        Self {
            core,
            clock,
            realm: Realm::new("r"),
            gate,
        }
    }

    /// Creates a key that rotates every 90 days.
    fn key(&self, id: &str, algorithm: Algorithm, purpose: Purpose) -> KeyId {
        let id = KeyId::new(id);
        let new = NewKey {
            id: id.clone(),
            algorithm,
            first: Some(NewVersion::new(algorithm)),
            purpose,
            data: String::new(),
        };
        self.core.create(&self.realm, new).unwrap();
        let every = Some(Trigger::Every(Period::days(90)));
        self.core
            .key(&self.realm, &id)
            .and_then(|key| {
                key.set_rotation(RotationPolicy {
                    trigger: every,
                    first: None,
                    lifetime: None,
                })
            })
            .unwrap();
        id
    }

    fn aes(&self, id: &str) -> KeyId {
        self.key(id, Algorithm::AES_256, Purpose::EncryptDecrypt)
    }
}

#[test]
fn key_stays_usable_while_its_rotation_generates_material() {
    let lab = Lab::new();
    let id = lab.aes("k");
    let Lab {
        core, realm, gate, ..
    } = &lab;
    gate.closed.store(true, Ordering::SeqCst);
    let (rotated, changed) = std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            core.key(realm, &id)
                .and_then(|key| key.rotate_now(None))
                .unwrap()
        });
        gate.held.wait();
        let (done, changed) = mpsc::channel();
        let (core, realm, id) = (core, realm, &id);
        scope.spawn(move || {
            let before = core
                .key(realm, id)
                .and_then(|key| key.update(|data| "changed".clone_into(data)))
                .unwrap();
            done.send(before.versions.len()).unwrap();
        });
        // The limit ends a failing test; a passing one never waits for it.
        let changed = changed.recv_timeout(Duration::from_secs(10));
        gate.opened.wait();
        (rotating.join().unwrap(), changed)
    });
    assert_eq!(changed, Ok(1), "the change waited for the rotation");
    assert_eq!(
        (rotated.versions.len(), rotated.data.as_str()),
        (2, "changed")
    );
    assert_eq!(rotated.rotation.on_demand_used, 1);
}

#[test]
fn concurrent_callers_rotate_once_per_due_date() {
    let lab = Lab::new();
    let id = lab.aes("k");
    let Lab {
        core,
        clock,
        realm,
        gate,
    } = &lab;
    clock.advance(DAY * 90).unwrap();
    gate.closed.store(true, Ordering::SeqCst);
    let versions = std::thread::scope(|scope| {
        let first = scope.spawn(|| core.key(realm, &id).unwrap());
        gate.held.wait();
        let second = scope.spawn(|| core.key(realm, &id).unwrap());
        gate.opened.wait();
        [first, second].map(|seen| seen.join().unwrap().versions.len())
    });
    assert_eq!(versions, [2, 2]);
}

#[test]
fn rotation_does_not_block_other_keys() {
    let lab = Lab::new();
    let (slow, other) = (lab.aes("slow"), lab.aes("other"));
    lab.clock.advance(DAY * 200).unwrap();
    lab.gate.closed.store(true, Ordering::SeqCst);
    let rotated = std::thread::scope(|scope| {
        scope.spawn(|| lab.core.key(&lab.realm, &slow).unwrap());
        lab.gate.held.wait();
        let (done, rotated) = mpsc::channel();
        let (core, realm, other) = (&lab.core, &lab.realm, &other);
        scope.spawn(move || {
            done.send(core.key(realm, other).unwrap().versions.len())
                .unwrap()
        });
        // The limit ends a failing test; a passing one never waits for it.
        let rotated = rotated.recv_timeout(Duration::from_secs(10));
        lab.gate.opened.wait();
        rotated
    });
    assert_eq!(rotated, Ok(3), "the other key waited");
}

#[test]
fn apply_due_stops_between_versions_when_cancelled_and_resumes() {
    let lab = Lab::new();
    let id = lab.aes("k");
    lab.clock.advance(DAY * 905).unwrap();
    let requested = Cell::new(0);
    // Once before the key, then before each version.
    let applied = lab
        .core
        .apply_due_while(&|| requested.replace(requested.get() + 1) < 4);
    assert_eq!((applied.rotated, applied.skipped), (3, 0));
    assert_eq!(lab.core.apply_due().rotated, 7, "the rest is still due");
    let days: Vec<_> = lab
        .core
        .key(&lab.realm, &id)
        .unwrap()
        .versions
        .iter()
        .map(|v| v.created.as_second() / 86_400)
        .collect();
    assert_eq!(days, (0..=10).map(|n| n * 90).collect::<Vec<_>>());
}

/// The number of versions when ten rotations are due and `act` runs while the first is generated;
/// `None` if the key is gone.
fn versions_after(act: impl FnOnce(&KeyCore)) -> Option<usize> {
    let lab = Lab::new();
    let id = lab.aes("k");
    lab.clock.advance(DAY * 905).unwrap();
    lab.gate.closed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| {
            lab.core
                .key(&lab.realm, &id)
                .ok()
                .map(|key| key.versions.len())
        });
        lab.gate.held.wait();
        act(&lab.core);
        lab.gate.opened.wait();
        rotating.join().unwrap()
    })
}

#[test]
fn stopped_core_does_not_rotate() {
    assert_eq!(
        versions_after(KeyCore::stop),
        Some(2),
        "the version that was being made, and no other"
    );
}

#[test]
fn reset_ends_rotations_of_removed_keys() {
    assert_eq!(versions_after(|core| core.reset().unwrap()), None);
}

/// 100 years are 405 periods of 90 days: minutes for RSA, quick for AES.
#[test]
fn one_clock_move_makes_a_bounded_number_of_versions_and_reports_the_rest() {
    let lab = Lab::new();
    let rsa = lab.key("rsa", Algorithm::Rsa { bits: 2048 }, Purpose::Any);
    let aes = lab.aes("aes");
    lab.clock.advance(DAY * 36_500).unwrap();
    let applied = lab.core.apply_due();
    assert_eq!((applied.rotated, applied.skipped), (32 + 405, 405 - 32));
    let newest = |id| {
        lab.core
            .key(&lab.realm, id)
            .unwrap()
            .primary()
            .unwrap()
            .created
    };
    assert_eq!(
        newest(&rsa),
        newest(&aes),
        "the newest are the ones that were made"
    );
    assert_eq!(lab.core.apply_due(), kmslab_keycore::DueChanges::default());
}

#[test]
fn skipped_rotations_are_reported_once_when_apply_due_is_interrupted() {
    let lab = Lab::new();
    lab.aes("k");
    lab.clock.advance(DAY * 90 * 1010).unwrap();
    let requested = Cell::new(0);
    let applied = lab
        .core
        .apply_due_while(&|| requested.replace(requested.get() + 1) < 3);
    assert_eq!((applied.rotated, applied.skipped), (2, 10));
    let rest = lab.core.apply_due();
    assert_eq!((rest.rotated, rest.skipped), (998, 0));
}

#[test]
fn rotation_that_waited_for_another_generates_material_once() {
    let lab = Lab::new();
    let id = lab.aes("k");
    let drawn = &lab.gate.drawn;
    let one = {
        let before = drawn.load(Ordering::SeqCst);
        lab.core
            .key(&lab.realm, &id)
            .unwrap()
            .rotate_now(None)
            .unwrap();
        drawn.load(Ordering::SeqCst) - before
    };
    // Looked up before the rotation that comes first.
    let late = lab.core.key(&lab.realm, &id).unwrap();
    lab.core
        .key(&lab.realm, &id)
        .unwrap()
        .rotate_now(None)
        .unwrap();
    let before = drawn.load(Ordering::SeqCst);
    assert_eq!(late.rotate_now(None).unwrap().versions.len(), 4);
    assert_eq!(drawn.load(Ordering::SeqCst) - before, one);
}
