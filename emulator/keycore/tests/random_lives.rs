//! Random command sequences: a ciphertext decrypts for as long as its key and version allow it, and
//! never otherwise.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{KeyCore, TestFront, version_of};
use jiff::{SignedDuration, Timestamp};
use kmslab_keycore::{
    Algorithm, Ciphertext, KeyError, KeyId, KeyState, ManualClock, MemoryStore, NewKey, NewVersion,
    Period, Purpose, Realm, RotationPolicy, SeededEntropy, Trigger, VersionState,
};
use proptest::prelude::*;

const DAY: Duration = Duration::from_hours(24);

#[derive(Debug, Clone)]
enum Command {
    Seal(Vec<u8>),
    Rotate,
    Schedule(Option<u32>),
    Enable,
    Disable,
    ScheduleDeletion(u32),
    CancelDeletion,
    Disables(usize),
    Enables(usize),
    Destroys(usize),
    DestroysIn(usize, i64),
    Adds { primary: bool, later: bool },
    Finishes(usize),
    MakesPrimary(usize),
    PassDays(u32),
}

fn command() -> impl Strategy<Value = Command> {
    use Command::*;
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(Seal),
        3 => Just(Rotate),
        2 => proptest::option::of(1..400_u32).prop_map(Schedule),
        3 => Just(Enable),
        1 => Just(Disable),
        1 => (1..40_u32).prop_map(ScheduleDeletion),
        2 => Just(CancelDeletion),
        1 => any::<usize>().prop_map(Disables),
        2 => any::<usize>().prop_map(Enables),
        1 => any::<usize>().prop_map(Destroys),
        1 => (any::<usize>(), 1..40_i64).prop_map(|(n, days)| DestroysIn(n, days)),
        1 => any::<(bool, bool)>().prop_map(|(primary, later)| Adds { primary, later }),
        2 => any::<usize>().prop_map(Finishes),
        1 => any::<usize>().prop_map(MakesPrimary),
        3 => (0..200_u32).prop_map(PassDays),
    ]
}

struct Lab {
    core: KeyCore,
    clock: ManualClock,
    realm: Realm,
    id: KeyId,
    sealed: Vec<(Ciphertext, Vec<u8>)>,
}

fn lab(seed: u64) -> Lab {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let core = KeyCore::new(
        Arc::new(MemoryStore::default()),
        Arc::new(clock.clone()),
        Arc::new(SeededEntropy::new(seed)),
    );
    let (realm, id) = (Realm::new("r"), KeyId::new("k"));
    core.create(
        &realm,
        new_key("k", Algorithm::AES_256, Purpose::EncryptDecrypt),
    )
    .unwrap();
    Lab {
        core,
        clock,
        realm,
        id,
        sealed: Vec::new(),
    }
}

fn new_key(id: &str, algorithm: Algorithm, purpose: Purpose) -> NewKey<TestFront> {
    NewKey {
        id: KeyId::new(id),
        algorithm,
        first: Some(NewVersion::new(algorithm)),
        purpose,
        data: String::new(),
    }
}

impl Lab {
    /// Runs one command; errors of the core are allowed.
    fn run(&mut self, command: Command) {
        let (core, realm, id) = (&self.core, &self.realm, &self.id);
        let pick = |n: usize| {
            core.key(realm, id)
                .map(|key| key.versions[n % key.versions.len()].id)
        };
        let moved = |n: usize, to| {
            pick(n).and_then(|version| {
                core.key(realm, id)
                    .and_then(|key| key.version(&version))
                    .and_then(|version| version.set_state(to))
            })
        };
        let rejected = match command {
            Command::Seal(plaintext) => match core
                .key(realm, id)
                .and_then(|key| key.encrypt(&plaintext, b"aad"))
            {
                Ok(sealed) => {
                    self.sealed.push((sealed, plaintext));
                    None
                }
                Err(error) => Some(error),
            },
            Command::Rotate => core
                .key(realm, id)
                .and_then(|key| key.rotate_now(Some(25)))
                .err(),
            Command::Schedule(days) => core
                .key(realm, id)
                .and_then(|key| {
                    key.set_rotation(RotationPolicy {
                        trigger: days.map(|days| Trigger::Every(Period::days(days))),
                        first: None,
                        lifetime: None,
                    })
                })
                .err(),
            Command::Enable => core.key(realm, id).and_then(|key| key.enable()).err(),
            Command::Disable => core.key(realm, id).and_then(|key| key.disable()).err(),
            Command::ScheduleDeletion(days) => core
                .key(realm, id)
                .and_then(|key| key.schedule_deletion(DAY * days))
                .err(),
            Command::CancelDeletion => core
                .key(realm, id)
                .and_then(|key| key.cancel_deletion(KeyState::Disabled))
                .err(),
            Command::Disables(n) => moved(n, VersionState::Disabled).err(),
            Command::Enables(n) => moved(n, VersionState::Enabled).err(),
            Command::Destroys(n) => moved(n, VersionState::Destroyed).err(),
            Command::DestroysIn(n, days) => {
                let at = core.now() + SignedDuration::from_hours(24 * days);
                moved(n, VersionState::DestroyScheduled { at }).err()
            }
            Command::Adds { primary, later } => {
                let new = NewVersion {
                    primary,
                    pending: later,
                    ..NewVersion::new(Algorithm::AES_256)
                };
                core.key(realm, id)
                    .and_then(|key| key.add_version(new))
                    .err()
            }
            Command::Finishes(n) => pick(n)
                .and_then(|version| {
                    version_of(core, (realm, id, &version)).and_then(|version| version.finish())
                })
                .err(),
            Command::MakesPrimary(n) => pick(n)
                .and_then(|version| {
                    core.key(realm, id)
                        .and_then(|key| key.version(&version))
                        .and_then(|version| version.set_primary())
                })
                .err(),
            Command::PassDays(days) => {
                self.clock.advance(DAY * days).unwrap();
                None
            }
        };
        assert!(
            !matches!(
                rejected,
                Some(KeyError::Internal { .. } | KeyError::DecryptionFailed)
            ),
            "{rejected:?}"
        );
    }

    fn check(&self) {
        let (core, realm, id) = (&self.core, &self.realm, &self.id);
        let key = core.key(realm, id);
        if let Ok(key) = &key {
            for (at, version) in key.versions.iter().enumerate() {
                assert_eq!(version.number as usize, at + 1);
                assert!(version.created <= core.now());
                assert!(
                    !matches!(version.state, VersionState::DestroyScheduled { at } if at <= core.now())
                );
            }
            assert!(
                key.versions
                    .windows(2)
                    .all(|pair| pair[0].created <= pair[1].created)
            );
            assert!(
                key.rotation
                    .next
                    .is_none_or(|next| next > core.now() || key.state != KeyState::Enabled)
            );
            assert!(key.rotation.on_demand_used <= 25);
        }
        // Either the primary version encrypts, or the error matches the key's state.
        let sealing = core
            .key(realm, id)
            .and_then(|key| key.encrypt(b"now", b"aad"));
        match (&key, &sealing) {
            (Ok(key), Ok(_)) => assert!(key.usable_version(&key.primary.unwrap()).is_ok()),
            (Ok(key), Err(error)) => assert_eq!(
                key.usable_version(&key.primary.unwrap()).unwrap_err(),
                *error
            ),
            (Err(error), rejected) => assert_eq!(rejected.as_ref().unwrap_err(), error),
        }
        for (sealed, plaintext) in &self.sealed {
            let decrypted = core
                .key(realm, id)
                .and_then(|key| key.version(&sealed.version))
                .and_then(|version| version.decrypt(&sealed.nonce, &sealed.body, b"aad"));
            let allowed = key
                .as_ref()
                .is_ok_and(|key| key.usable_version(&sealed.version).is_ok());
            match decrypted {
                Ok(decrypted) => assert!(
                    allowed && *decrypted == *plaintext,
                    "opened what may not be opened"
                ),
                Err(error) => assert!(
                    !allowed,
                    "an enabled version did not open what it sealed: {error}"
                ),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn random_lives_decrypt_exactly_while_allowed(seed: u64, commands in proptest::collection::vec(command(), 1..60)) {
        let mut lab = lab(seed);
        for command in commands {
            lab.run(command);
            lab.check();
        }
    }

    #[test]
    fn changed_ciphertext_never_decrypts(seed: u64, plaintext: Vec<u8>, byte: prop::sample::Index, bit in 0..8_u8) {
        let lab = lab(seed);
        let sealed = lab.core.key(&lab.realm, &lab.id).and_then(|key| key.encrypt(&plaintext, b"aad")).unwrap();
        let open = |nonce: &[u8; 12], body: &[u8], aad: &[u8]| lab.core.key(&lab.realm, &lab.id).and_then(|key| key.version(&sealed.version)).and_then(|version| version.decrypt(nonce, body, aad));
        let mut body = sealed.body.clone();
        let at = byte.index(body.len());
        body[at] ^= 1 << bit;
        prop_assert_eq!(open(&sealed.nonce, &body, b"aad"), Err(KeyError::DecryptionFailed));
        prop_assert_eq!(open(&sealed.nonce, &sealed.body, b"other"), Err(KeyError::DecryptionFailed));
        prop_assert_eq!(open(&sealed.nonce, &sealed.body[..at], b"aad"), Err(KeyError::DecryptionFailed));
        prop_assert_eq!(&*open(&sealed.nonce, &sealed.body, b"aad").unwrap(), &plaintext);
    }
}
