//! Operations whose effects need a test of their own: schedules, deletion, aliases, signatures,
//! MACs.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Cause, Curve, Hash, KeyCore, KeyError, KeyId, KeyState, ManualClock, MemoryStore,
    NewKey, NewVersion, Period, Purpose, Realm, RsaPadding, SignInput, SignatureAlgorithm,
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

fn new_key(id: &str, algorithm: Algorithm, purpose: Purpose) -> NewKey {
    NewKey {
        id: KeyId::new(id),
        algorithm,
        first: Some(NewVersion::new(algorithm)),
        purpose,
        description: String::new(),
        labels: BTreeMap::new(),
        policy: None,
        attributes: BTreeMap::new(),
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
    core.set_rotation(&realm, &id, every(90), None, None)
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

    core.disable(&realm, &id).unwrap();
    clock.advance(DAY * 900).unwrap();
    assert_eq!(core.apply_due().rotated, 0);
    // Enabled again, the key rotates once, now, and the next period starts here.
    let key = core.enable(&realm, &id).unwrap();
    assert_eq!(key.versions.len(), 4);
    assert_eq!(key.primary().unwrap().cause, Cause::Automatic);
    assert_eq!(key.primary().unwrap().created, core.now());
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
    core.create_alias(&realm, "a", &id).unwrap();
    core.schedule_deletion(&realm, &id, DAY * 7).unwrap();
    assert!(matches!(
        core.encrypt(&realm, &id, b"", b""),
        Err(KeyError::PendingDeletion { .. })
    ));
    assert_eq!(
        core.cancel_deletion(&realm, &id, KeyState::Disabled)
            .unwrap()
            .state,
        KeyState::Disabled
    );
    core.schedule_deletion(&realm, &id, DAY * 7).unwrap();
    clock.advance(DAY * 7 - Duration::from_secs(1)).unwrap();
    assert!(core.key(&realm, &id).is_ok());
    clock.advance(Duration::from_secs(1)).unwrap();
    assert!(matches!(
        core.cancel_deletion(&realm, &id, KeyState::Disabled),
        Err(KeyError::NotFound { .. })
    ));
    assert!(matches!(
        core.alias(&realm, "a"),
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
        .set_rotation(&realm, &id, every(100), None, None)
        .unwrap()
        .rotation
        .next;
    clock.advance(DAY).unwrap();
    for _ in 0..25 {
        core.rotate_now(&realm, &id, Some(25)).unwrap();
    }
    assert_eq!(
        core.rotate_now(&realm, &id, Some(25)).unwrap_err(),
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
        core.rotate_now(&realm, &hmac, None).unwrap_err(),
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
    core.create_alias(&realm, "a", &one).unwrap();
    assert!(matches!(
        core.create_alias(&realm, "a", &two),
        Err(KeyError::AliasExists { .. })
    ));
    core.update_alias(&realm, "a", &two).unwrap();
    assert_eq!(core.alias(&realm, "a").unwrap().target, two);
    let elsewhere = Realm::new("elsewhere");
    assert!(matches!(
        core.alias(&elsewhere, "a"),
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
        let signature = core.sign(at, how, SignInput::Message(b"m")).unwrap();
        assert!(
            core.verify(at, how, SignInput::Message(b"m"), &signature)
                .unwrap(),
            "{algorithm:?}"
        );
        assert!(
            !core
                .verify(at, how, SignInput::Message(b"n"), &signature)
                .unwrap(),
            "{algorithm:?}"
        );
        assert!(core.public_key(at).unwrap().der().unwrap().len() > 32);
        if let Some(len) = digest {
            let digest = vec![7; len];
            let signature = core.sign(at, how, SignInput::Digest(&digest)).unwrap();
            assert!(
                core.verify(at, how, SignInput::Digest(&digest), &signature)
                    .unwrap()
            );
            let short = core.sign(at, how, SignInput::Digest(&digest[1..]));
            assert_eq!(short, Err(KeyError::BadDigestLength));
        }
    }
    let id = KeyId::new("2");
    let version = primary(&core, &realm, &id);
    let at = (&realm, &id, &version);
    let wrong = core.sign(
        at,
        SignatureAlgorithm::Ecdsa(Hash::Sha512),
        SignInput::Message(b""),
    );
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
        let body = core.encrypt_rsa(at, padding, &vec![1; max]).unwrap();
        assert_eq!(core.decrypt_rsa(at, padding, &body).unwrap().len(), max);
        assert_eq!(
            core.encrypt_rsa(at, padding, &vec![1; max + 1]),
            Err(KeyError::TooLong { max })
        );
        assert_eq!(
            core.decrypt_rsa(at, padding, &body[1..]),
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
        let tag = core.mac(at, b"m").unwrap();
        assert_eq!(tag.len(), usize::from(bits) / 8);
        assert!(core.verify_mac(at, b"m", &tag).unwrap());
        assert!(!core.verify_mac(at, b"m", &tag[1..]).unwrap());
    }
    assert!(matches!(
        core.encrypt(&realm, &id, b"", b""),
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
    let encrypted = core.encrypt(&realm, &id, b"m", b"").unwrap();
    let open = || core.decrypt(&realm, &id, &first, &encrypted.nonce, &encrypted.body, b"");
    let scheduled = VersionState::DestroyScheduled {
        at: core.now() + DAY * 30,
    };
    core.set_version_state(&realm, &id, &first, scheduled)
        .unwrap();
    assert_eq!(
        open().unwrap_err(),
        KeyError::VersionUnusable { state: scheduled }
    );
    core.set_version_state(&realm, &id, &first, VersionState::Disabled)
        .unwrap();
    core.set_version_state(&realm, &id, &first, VersionState::Enabled)
        .unwrap();
    assert_eq!(*open().unwrap(), b"m");

    core.set_version_state(
        &realm,
        &id,
        &first,
        VersionState::DestroyScheduled {
            at: core.now() + DAY * 30,
        },
    )
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
    let back = core.set_version_state(&realm, &id, &first, VersionState::Disabled);
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
        core.encrypt(&realm, &id, b"m", b"").unwrap_err(),
        KeyError::NoPrimary { id: "k".into() }
    );
    let beside = NewVersion {
        primary: false,
        ..NewVersion::new(Algorithm::AES_256)
    };
    let key = core.add_version(&realm, &id, beside.clone()).unwrap();
    assert_eq!((key.versions.len(), key.primary), (1, None));
    let first = key.versions[0].id;
    let encrypted = core
        .encrypt_with_version((&realm, &id, &first), b"m", b"")
        .unwrap();
    assert_eq!(encrypted.version, first);
    core.set_primary(&realm, &id, &first).unwrap();
    let second = core.add_version(&realm, &id, beside).unwrap().versions[1].id;
    assert_eq!(
        primary(&core, &realm, &id),
        first,
        "a version that is not to be the primary is not"
    );
    core.set_version_state(&realm, &id, &second, VersionState::Disabled)
        .unwrap();
    assert!(core.set_primary(&realm, &id, &second).is_err());

    let tenth = core.now() + DAY * 10;
    let next = core
        .set_rotation(&realm, &id, every(90), Some(tenth), None)
        .unwrap()
        .rotation
        .next;
    assert_eq!(next, Some(tenth));
    clock.advance(DAY * 10).unwrap();
    let key = core.key(&realm, &id).unwrap();
    assert_eq!(
        (key.primary().unwrap().number, key.rotation.next),
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
        core.sign(
            named,
            SignatureAlgorithm::Ecdsa(Hash::Sha256),
            SignInput::Message(b"m"),
        )
    };
    assert_eq!(
        (sign().unwrap_err(), core.public_key(named).unwrap_err()),
        (pending.clone(), pending)
    );
    core.finish_version(named).unwrap();
    let public = core.public_key(named).unwrap();
    sign().unwrap();
    // Finishing it twice changes nothing.
    core.finish_version(named).unwrap();
    assert_eq!(core.public_key(named).unwrap(), public);
}
