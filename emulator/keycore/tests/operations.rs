//! Operations whose effects need a test of their own: schedules, deletion, aliases, signatures,
//! MACs.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{KeyCore, TestFront, version_of};
use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Cause, Curve, Hash, KeyError, KeyId, KeyState, ManualClock, MemoryStore, NewKey,
    NewVersion, Period, Purpose, Realm, RotationPolicy, RsaPadding, SignInput, SignatureAlgorithm,
    SystemEntropy, Trigger, VersionId, VersionState,
};

const DAY: Duration = Duration::from_hours(24);

fn core() -> (KeyCore, ManualClock, Realm) {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let core = KeyCore::new(
        Arc::new(MemoryStore::default()),
        Arc::new(clock.clone()),
        Arc::new(SystemEntropy),
    );
    (core, clock, Realm::new("r"))
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

fn make(core: &KeyCore, realm: &Realm, id: &str, algorithm: Algorithm, purpose: Purpose) -> KeyId {
    core.create(realm, new_key(id, algorithm, purpose))
        .unwrap()
        .id
        .clone()
}

fn every(days: u32) -> Option<Trigger> {
    Some(Trigger::Every(Period::days(days)))
}

fn primary(core: &KeyCore, realm: &Realm, id: &KeyId) -> VersionId {
    core.key(realm, id).unwrap().primary.unwrap()
}

#[test]
fn schedule_rotates_on_due_dates_and_pauses_while_disabled() {
    let (core, clock, realm) = core();
    let id = make(
        &core,
        &realm,
        "k",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    core.key(&realm, &id)
        .and_then(|key| {
            key.set_rotation(RotationPolicy {
                trigger: every(90),
                first: None,
                lifetime: None,
            })
        })
        .unwrap();
    clock.advance(DAY * 200).unwrap();
    assert_eq!(core.apply_due().rotated, 2);
    let days: Vec<_> = core
        .key(&realm, &id)
        .unwrap()
        .versions
        .iter()
        .map(|v| v.created.as_second() / 86_400)
        .collect();
    assert_eq!(days, [0, 90, 180]);

    core.key(&realm, &id).and_then(|key| key.disable()).unwrap();
    clock.advance(DAY * 900).unwrap();
    assert_eq!(core.apply_due().rotated, 0);
    // Enabled again, the key rotates once, now, and the next period starts here.
    let key = core.key(&realm, &id).and_then(|key| key.enable()).unwrap();
    assert_eq!(key.versions.len(), 4);
    assert_eq!(key.primary_version().unwrap().cause, Cause::Automatic);
    assert_eq!(key.primary_version().unwrap().created, core.now());
    assert_eq!(key.rotation.next, Some(core.now() + DAY * 90));
}

#[test]
fn key_is_deleted_when_due_unless_cancelled() {
    let (core, clock, realm) = core();
    let id = make(
        &core,
        &realm,
        "k",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    core.key(&realm, &id)
        .and_then(|key| key.create_alias("a"))
        .unwrap();
    core.key(&realm, &id)
        .and_then(|key| key.schedule_deletion(DAY * 7))
        .unwrap();
    assert!(matches!(
        core.key(&realm, &id).and_then(|key| key.encrypt(b"", b"")),
        Err(KeyError::PendingDeletion { .. })
    ));
    assert_eq!(
        core.key(&realm, &id)
            .and_then(|key| key.cancel_deletion(KeyState::Disabled))
            .unwrap()
            .state,
        KeyState::Disabled
    );
    core.key(&realm, &id)
        .and_then(|key| key.schedule_deletion(DAY * 7))
        .unwrap();
    clock.advance(DAY * 7 - Duration::from_secs(1)).unwrap();
    assert!(core.key(&realm, &id).is_ok());
    clock.advance(Duration::from_secs(1)).unwrap();
    assert!(matches!(
        core.key(&realm, &id)
            .and_then(|key| key.cancel_deletion(KeyState::Disabled)),
        Err(KeyError::NotFound { .. })
    ));
    assert!(matches!(
        core.key_by_alias(&realm, "a"),
        Err(KeyError::AliasNotFound { .. })
    ));
    assert_eq!(core.keys(&realm).len(), 0);
}

#[test]
fn on_demand_rotations_are_limited_and_keep_the_schedule() {
    let (core, clock, realm) = core();
    let id = make(
        &core,
        &realm,
        "k",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    let next = core
        .key(&realm, &id)
        .and_then(|key| {
            key.set_rotation(RotationPolicy {
                trigger: every(100),
                first: None,
                lifetime: None,
            })
        })
        .unwrap()
        .rotation
        .next;
    clock.advance(DAY).unwrap();
    for _ in 0..25 {
        core.key(&realm, &id)
            .and_then(|key| key.rotate_now(Some(25)))
            .unwrap();
    }
    assert_eq!(
        core.key(&realm, &id)
            .and_then(|key| key.rotate_now(Some(25)))
            .unwrap_err(),
        KeyError::RotationLimit { limit: 25 }
    );
    assert_eq!(core.key(&realm, &id).unwrap().rotation.next, next);
    let hmac = make(
        &core,
        &realm,
        "h",
        Algorithm::Hmac { bits: 256 },
        Purpose::Mac,
    );
    assert_eq!(
        core.key(&realm, &hmac)
            .and_then(|key| key.rotate_now(None))
            .unwrap_err(),
        KeyError::RotationUnsupported
    );
}

#[test]
fn aliases_are_unique_and_realms_are_separate() {
    let (core, _, realm) = core();
    let one = make(
        &core,
        &realm,
        "one",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    let two = make(
        &core,
        &realm,
        "two",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    core.key(&realm, &one)
        .and_then(|key| key.create_alias("a"))
        .unwrap();
    assert!(matches!(
        core.key(&realm, &two).and_then(|key| key.create_alias("a")),
        Err(KeyError::AliasExists { .. })
    ));
    core.key(&realm, &two)
        .and_then(|key| key.update_alias("a"))
        .unwrap();
    assert_eq!(core.key_by_alias(&realm, "a").unwrap().id, two);
    let elsewhere = Realm::new("elsewhere");
    assert!(matches!(
        core.key_by_alias(&elsewhere, "a"),
        Err(KeyError::AliasNotFound { .. })
    ));
    assert!(matches!(
        core.key(&elsewhere, &one),
        Err(KeyError::NotFound { .. })
    ));
    core.delete_alias(&realm, "a").unwrap();
    assert!(matches!(
        core.delete_alias(&realm, "a"),
        Err(KeyError::AliasNotFound { .. })
    ));
}

#[test]
fn signing_keys_verify_only_their_own_signatures() {
    let (core, _, realm) = core();
    let cases = [
        (
            Algorithm::Rsa { bits: 2048 },
            SignatureAlgorithm::RsaPss(Hash::Sha384),
            Some(48),
        ),
        (
            Algorithm::Rsa { bits: 2048 },
            SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
            Some(32),
        ),
        (
            Algorithm::Ec(Curve::P256),
            SignatureAlgorithm::Ecdsa(Hash::Sha256),
            Some(32),
        ),
        (
            Algorithm::Ec(Curve::P384),
            SignatureAlgorithm::Ecdsa(Hash::Sha384),
            Some(48),
        ),
        (
            Algorithm::Ec(Curve::P521),
            SignatureAlgorithm::Ecdsa(Hash::Sha512),
            Some(64),
        ),
        (
            Algorithm::Ec(Curve::Secp256k1),
            SignatureAlgorithm::Ecdsa(Hash::Sha256),
            Some(32),
        ),
        (
            Algorithm::Ec(Curve::Ed25519),
            SignatureAlgorithm::Ed25519,
            None,
        ),
    ];
    for (n, (algorithm, how, digest)) in cases.into_iter().enumerate() {
        let id = make(
            &core,
            &realm,
            &n.to_string(),
            algorithm,
            Purpose::SignVerify,
        );
        let version = primary(&core, &realm, &id);
        let at = (&realm, &id, &version);
        let signature = version_of(&core, at)
            .and_then(|version| version.sign(how, SignInput::Message(b"m")))
            .unwrap();
        assert!(
            version_of(&core, at)
                .and_then(|version| version.verify(how, SignInput::Message(b"m"), &signature))
                .unwrap(),
            "{algorithm:?}"
        );
        assert!(
            !version_of(&core, at)
                .and_then(|version| version.verify(how, SignInput::Message(b"n"), &signature))
                .unwrap(),
            "{algorithm:?}"
        );
        assert!(
            version_of(&core, at)
                .and_then(|version| version.public_key())
                .unwrap()
                .der()
                .unwrap()
                .len()
                > 32
        );
        if let Some(len) = digest {
            let digest = vec![7; len];
            let signature = version_of(&core, at)
                .and_then(|version| version.sign(how, SignInput::Digest(&digest)))
                .unwrap();
            assert!(
                version_of(&core, at)
                    .and_then(|version| version.verify(how, SignInput::Digest(&digest), &signature))
                    .unwrap()
            );
            let short = version_of(&core, at)
                .and_then(|version| version.sign(how, SignInput::Digest(&digest[1..])));
            assert_eq!(short, Err(KeyError::BadDigestLength));
        }
    }
    let id = KeyId::new("2");
    let version = primary(&core, &realm, &id);
    let at = (&realm, &id, &version);
    let wrong = version_of(&core, at).and_then(|version| {
        version.sign(
            SignatureAlgorithm::Ecdsa(Hash::Sha512),
            SignInput::Message(b""),
        )
    });
    assert!(matches!(wrong, Err(KeyError::WrongAlgorithm { .. })));
}

#[test]
fn rsa_encrypts_up_to_its_limit_and_macs_verify() {
    let (core, _, realm) = core();
    let id = make(
        &core,
        &realm,
        "rsa",
        Algorithm::Rsa { bits: 2048 },
        Purpose::EncryptDecrypt,
    );
    let version = primary(&core, &realm, &id);
    let at = (&realm, &id, &version);
    for (padding, max) in [
        (RsaPadding::OaepSha1, 214),
        (RsaPadding::OaepSha256, 190),
        (RsaPadding::Pkcs1, 245),
    ] {
        let body = version_of(&core, at)
            .and_then(|version| version.encrypt_rsa(padding, &vec![1; max]))
            .unwrap();
        assert_eq!(
            version_of(&core, at)
                .and_then(|version| version.decrypt_rsa(padding, &body))
                .unwrap()
                .len(),
            max
        );
        assert_eq!(
            version_of(&core, at)
                .and_then(|version| version.encrypt_rsa(padding, &vec![1; max + 1])),
            Err(KeyError::TooLong { max })
        );
        assert_eq!(
            version_of(&core, at).and_then(|version| version.decrypt_rsa(padding, &body[1..])),
            Err(KeyError::DecryptionFailed)
        );
    }
    for bits in [224, 256, 384, 512] {
        let id = make(
            &core,
            &realm,
            &bits.to_string(),
            Algorithm::Hmac { bits },
            Purpose::Mac,
        );
        let version = primary(&core, &realm, &id);
        let at = (&realm, &id, &version);
        let tag = version_of(&core, at)
            .and_then(|version| version.mac(b"m"))
            .unwrap();
        assert_eq!(tag.len(), usize::from(bits) / 8);
        assert!(
            version_of(&core, at)
                .and_then(|version| version.verify_mac(b"m", &tag))
                .unwrap()
        );
        assert!(
            !version_of(&core, at)
                .and_then(|version| version.verify_mac(b"m", &tag[1..]))
                .unwrap()
        );
    }
    assert!(matches!(
        core.key(&realm, &id).and_then(|key| key.encrypt(b"", b"")),
        Err(KeyError::WrongAlgorithm { .. })
    ));
}

#[test]
fn debug_output_contains_no_key_material() {
    let (core, _, realm) = core();
    let id = make(
        &core,
        &realm,
        "k",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    let displayed = format!("{core:?} {:?}", core.key(&realm, &id).unwrap());
    assert!(
        !displayed.contains("material") && !displayed.contains("body"),
        "{displayed}"
    );
}

#[test]
fn version_scheduled_for_destruction_is_restored_disabled_or_destroyed() {
    let (core, clock, realm) = core();
    let id = make(
        &core,
        &realm,
        "k",
        Algorithm::AES_256,
        Purpose::EncryptDecrypt,
    );
    let first = primary(&core, &realm, &id);
    let encrypted = core
        .key(&realm, &id)
        .and_then(|key| key.encrypt(b"m", b""))
        .unwrap();
    let open = || {
        core.key(&realm, &id)
            .and_then(|key| key.version(&first))
            .and_then(|version| version.decrypt(&encrypted.nonce, &encrypted.body, b""))
    };
    let scheduled = VersionState::DestroyScheduled {
        at: core.now() + DAY * 30,
    };
    core.key(&realm, &id)
        .and_then(|key| key.version(&first))
        .and_then(|version| version.set_state(scheduled))
        .unwrap();
    assert_eq!(
        open().unwrap_err(),
        KeyError::VersionUnusable { state: scheduled }
    );
    core.key(&realm, &id)
        .and_then(|key| key.version(&first))
        .and_then(|version| version.set_state(VersionState::Disabled))
        .unwrap();
    core.key(&realm, &id)
        .and_then(|key| key.version(&first))
        .and_then(|version| version.set_state(VersionState::Enabled))
        .unwrap();
    assert_eq!(*open().unwrap(), b"m");

    core.key(&realm, &id)
        .and_then(|key| key.version(&first))
        .and_then(|version| {
            version.set_state(VersionState::DestroyScheduled {
                at: core.now() + DAY * 30,
            })
        })
        .unwrap();
    let due = core.now() + DAY * 30;
    clock.advance(DAY * 40).unwrap();
    assert_eq!(
        open().unwrap_err(),
        KeyError::VersionUnusable {
            state: VersionState::Destroyed
        }
    );
    let key = core.key(&realm, &id).unwrap();
    assert_eq!(
        key.versions[0].updated, due,
        "it went on its day, not when somebody looked"
    );
    let back = core
        .key(&realm, &id)
        .and_then(|key| key.version(&first))
        .and_then(|version| version.set_state(VersionState::Disabled));
    assert!(matches!(back, Err(KeyError::InvalidTransition { .. })));
}

#[test]
fn key_may_start_without_versions_and_have_any_version_as_primary() {
    let (core, clock, realm) = core();
    let id = KeyId::new("k");
    let new = NewKey {
        first: None,
        ..new_key("k", Algorithm::AES_256, Purpose::EncryptDecrypt)
    };
    core.create(&realm, new).unwrap();
    assert_eq!(
        core.key(&realm, &id)
            .and_then(|key| key.encrypt(b"m", b""))
            .unwrap_err(),
        KeyError::NoPrimary { id: "k".into() }
    );
    let beside = NewVersion {
        primary: false,
        ..NewVersion::new(Algorithm::AES_256)
    };
    let key = core
        .key(&realm, &id)
        .and_then(|key| key.add_version(beside.clone()))
        .unwrap();
    assert_eq!((key.versions.len(), key.primary), (1, None));
    let first = key.versions[0].id;
    let encrypted = version_of(&core, (&realm, &id, &first))
        .and_then(|version| version.encrypt(b"m", b""))
        .unwrap();
    assert_eq!(encrypted.version, first);
    core.key(&realm, &id)
        .and_then(|key| key.version(&first))
        .and_then(|version| version.set_primary())
        .unwrap();
    let second = core
        .key(&realm, &id)
        .and_then(|key| key.add_version(beside))
        .unwrap()
        .versions[1]
        .id;
    assert_eq!(
        primary(&core, &realm, &id),
        first,
        "a version that is not to be the primary is not"
    );
    core.key(&realm, &id)
        .and_then(|key| key.version(&second))
        .and_then(|version| version.set_state(VersionState::Disabled))
        .unwrap();
    assert!(
        core.key(&realm, &id)
            .and_then(|key| key.version(&second))
            .and_then(|version| version.set_primary())
            .is_err()
    );

    let tenth = core.now() + DAY * 10;
    let next = core
        .key(&realm, &id)
        .and_then(|key| {
            key.set_rotation(RotationPolicy {
                trigger: every(90),
                first: Some(tenth),
                lifetime: None,
            })
        })
        .unwrap()
        .rotation
        .next;
    assert_eq!(next, Some(tenth));
    clock.advance(DAY * 10).unwrap();
    let key = core.key(&realm, &id).unwrap();
    assert_eq!(
        (key.primary_version().unwrap().number, key.rotation.next),
        (3, Some(tenth + DAY * 90))
    );
}

#[test]
fn pending_version_is_unusable_until_finished() {
    let (core, _, realm) = core();
    let id = KeyId::new("k");
    let later = NewVersion {
        pending: true,
        primary: false,
        ..NewVersion::new(Algorithm::Ec(Curve::P256))
    };
    let new = new_key("k", Algorithm::Ec(Curve::P256), Purpose::SignVerify);
    let key = core
        .create(
            &realm,
            NewKey {
                first: Some(later),
                ..new
            },
        )
        .unwrap();
    let version = key.versions[0].id;
    let named = (&realm, &id, &version);
    let pending = KeyError::VersionUnusable {
        state: VersionState::Pending,
    };
    let sign = || {
        version_of(&core, named).and_then(|version| {
            version.sign(
                SignatureAlgorithm::Ecdsa(Hash::Sha256),
                SignInput::Message(b"m"),
            )
        })
    };
    assert_eq!(
        (
            sign().unwrap_err(),
            version_of(&core, named)
                .and_then(|version| version.public_key())
                .unwrap_err()
        ),
        (pending.clone(), pending)
    );
    version_of(&core, named)
        .and_then(|version| version.finish())
        .unwrap();
    let public = version_of(&core, named)
        .and_then(|version| version.public_key())
        .unwrap();
    sign().unwrap();
    // Finishing it twice changes nothing.
    version_of(&core, named)
        .and_then(|version| version.finish())
        .unwrap();
    assert_eq!(
        version_of(&core, named)
            .and_then(|version| version.public_key())
            .unwrap(),
        public
    );
}
