//! Keys that are written out and taken in again, and material that is derived from a secret.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::KeyCore;
use jiff::Timestamp;
use kmslab_keycore::{
    Algorithm, Alias, Cause, Curve, ImportError, ImportedMaterial, Kem, KeyError, KeyId, KeyState,
    ManualClock, MemoryStore, NewKey, NewVersion, Period, PlainKey, Purpose, Realm, RotationPolicy,
    SystemEntropy, Trigger, VersionId, VersionState,
};

const ALGORITHMS: &[(Algorithm, Purpose)] = &[
    (Algorithm::Aes { bits: 128 }, Purpose::Any),
    (Algorithm::AES_256, Purpose::EncryptDecrypt),
    (Algorithm::Hmac { bits: 512 }, Purpose::Any),
    (Algorithm::Rsa { bits: 2048 }, Purpose::Any),
    (Algorithm::Ec(Curve::P256), Purpose::Any),
    (Algorithm::Ec(Curve::P384), Purpose::Any),
    (Algorithm::Ec(Curve::P521), Purpose::Any),
    (Algorithm::Ec(Curve::Secp256k1), Purpose::Any),
    (Algorithm::Ec(Curve::Ed25519), Purpose::Any),
    (Algorithm::Kem(Kem::MlKem768), Purpose::Any),
    (Algorithm::Kem(Kem::MlKem1024), Purpose::Any),
    (Algorithm::Kem(Kem::XWing), Purpose::Any),
];

fn core() -> KeyCore {
    let clock = ManualClock::at(at("2026-01-01T00:00:00Z"));
    KeyCore::new(
        Arc::new(MemoryStore::default()),
        Arc::new(clock),
        Arc::new(SystemEntropy),
    )
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn realm() -> Realm {
    Realm::new("realm")
}

fn new_key(algorithm: Algorithm, purpose: Purpose) -> NewKey<common::TestFront> {
    NewKey {
        id: KeyId::new("key"),
        algorithm,
        first: Some(NewVersion::new(algorithm)),
        purpose,
        data: "a description".to_owned(),
    }
}

/// An AES key with an older version that is destroyed and one that is scheduled for it.
fn rotated_key(core: &KeyCore) -> PlainKey<common::TestFront> {
    let key = core
        .create(
            &realm(),
            new_key(Algorithm::AES_256, Purpose::EncryptDecrypt),
        )
        .unwrap();
    key.set_rotation(RotationPolicy {
        trigger: Some(Trigger::Every(Period::days(90))),
        ..RotationPolicy::default()
    })
    .unwrap();
    key.rotate_now(Some(25)).unwrap();
    let key = key.reload().unwrap().rotate_now(Some(25)).unwrap();
    let key = key.reload().unwrap();
    let (first, second) = (key.versions[0].id, key.versions[1].id);
    let destroyed = key.version(&first).unwrap();
    let key = destroyed.set_state(VersionState::Destroyed).unwrap();
    let scheduled = VersionState::DestroyScheduled {
        at: at("2026-03-01T00:00:00Z"),
    };
    let key = key.version(&second).unwrap().set_state(scheduled).unwrap();
    key.export(true).unwrap()
}

#[test]
fn exported_key_of_each_algorithm_has_the_same_material_in_another_core() {
    for (algorithm, purpose) in ALGORITHMS {
        let (one, other) = (core(), core());
        let key = one.create(&realm(), new_key(*algorithm, *purpose)).unwrap();
        let exported = key.export(true).unwrap();
        let imported = other.import(exported.clone()).unwrap();
        let again = imported.export(true).unwrap();
        assert_eq!(again.versions.len(), 1, "{algorithm:?}");
        let material = |key: &PlainKey<_>| {
            key.versions[0]
                .material
                .as_ref()
                .unwrap()
                .as_bytes()
                .to_vec()
        };
        assert_eq!(material(&again), material(&exported), "{algorithm:?}");
        assert_eq!(again.versions[0].id, exported.versions[0].id);
        if *algorithm == Algorithm::AES_256 {
            let sealed = key.primary().unwrap().encrypt(b"text", b"aad").unwrap();
            let plain = imported.version(&sealed.version).unwrap();
            assert_eq!(
                *plain.decrypt(&sealed.nonce, &sealed.body, b"aad").unwrap(),
                b"text"
            );
        }
        // What a file holds is checked again.
        let parsed = ImportedMaterial::parse(*algorithm, &material(&exported)).unwrap();
        assert_eq!(parsed.algorithm(), *algorithm);
        let cut = &material(&exported)[1..];
        assert_eq!(
            ImportedMaterial::parse(*algorithm, cut).unwrap_err(),
            KeyError::BadMaterial,
            "{algorithm:?}"
        );
    }
}

#[test]
fn imported_key_keeps_numbers_dates_states_and_schedule() {
    let one = core();
    let exported = rotated_key(&one);
    let other = core();
    let imported = other.import(exported.clone()).unwrap();
    let original = one.key(&realm(), &KeyId::new("key")).unwrap();
    // Material is wrapped under another master key; all else is the same.
    assert_eq!(format!("{imported:?}"), format!("{original:?}"));
    assert_eq!(imported.rotation, original.rotation);
    assert_eq!(imported.rotation.on_demand_used, 2);
    assert_eq!(imported.last_number, 3);
    let states: Vec<_> = imported.versions.iter().map(|v| v.state).collect();
    assert_eq!(states[0], VersionState::Destroyed);
    assert!(matches!(states[1], VersionState::DestroyScheduled { .. }));
    assert_eq!(imported.primary, Some(imported.versions[2].id));
    assert_eq!(
        other.import(exported).unwrap_err(),
        ImportError::Key(KeyError::AlreadyExists { id: "key".into() })
    );
}

#[test]
fn dates_in_the_past_take_effect_when_the_key_is_looked_up() {
    let core = core();
    let mut key = rotated_key(&core);
    key.id = KeyId::new("other");
    key.rotation.next = Some(at("2025-12-31T00:00:00Z"));
    key.versions[1].state = VersionState::DestroyScheduled {
        at: at("2025-12-31T00:00:00Z"),
    };
    core.import(key.clone()).unwrap();
    let key_now = core.key(&realm(), &key.id).unwrap();
    assert_eq!(key_now.versions[1].state, VersionState::Destroyed);
    assert_eq!(key_now.versions[3].cause, Cause::Automatic);
    key.id = KeyId::new("gone");
    key.state = KeyState::PendingDeletion {
        at: at("2025-12-31T00:00:00Z"),
    };
    core.import(key.clone()).unwrap();
    assert!(core.key(&realm(), &key.id).is_err());
}

#[test]
fn export_without_material_has_none_and_import_generates_it() {
    let one = core();
    let key = one
        .create(
            &realm(),
            new_key(Algorithm::AES_256, Purpose::EncryptDecrypt),
        )
        .unwrap();
    let exported = key.export(false).unwrap();
    assert!(exported.versions[0].material.is_none());
    let other = core();
    let imported = other.import(exported).unwrap().export(true).unwrap();
    let material = imported.versions[0].material.as_ref().unwrap();
    assert_eq!(material.as_bytes().len(), 32);
    let original = key.export(true).unwrap();
    let original = original.versions[0].material.as_ref().unwrap();
    assert_ne!(material.as_bytes(), original.as_bytes());
}

#[test]
fn key_whose_parts_do_not_fit_together_is_refused() {
    let one = core();
    let good = rotated_key(&one);
    let other = core();
    let refused = |change: &dyn Fn(&mut PlainKey<common::TestFront>)| {
        let mut key = good.clone();
        change(&mut key);
        other.import(key).unwrap_err()
    };
    let id = good.versions[0].id;
    assert_eq!(
        refused(&|key| key.versions[1].id = id),
        ImportError::SameVersionId(id)
    );
    assert_eq!(
        refused(&|key| key.versions[1].number = 1),
        ImportError::NumbersDoNotRise(1)
    );
    assert_eq!(
        refused(&|key| key.versions[0].number = 0),
        ImportError::NumbersDoNotRise(0)
    );
    assert_eq!(
        refused(&|key| key.last_number = 2),
        ImportError::LastNumber { last: 2, newest: 3 }
    );
    assert_eq!(
        refused(&|key| key.primary = Some(VersionId::from_bytes([7; 32]))),
        ImportError::NoSuchPrimary
    );
    let material = good.versions[2].material.clone();
    assert_eq!(
        refused(&|key| key.versions[0].material.clone_from(&material)),
        ImportError::UnexpectedMaterial {
            number: 1,
            state: VersionState::Destroyed
        }
    );
    assert_eq!(
        refused(&|key| key.versions[2].algorithm = Algorithm::Aes { bits: 128 }),
        ImportError::Key(KeyError::BadMaterial)
    );
    assert!(other.keys(&realm()).is_empty(), "nothing is left of them");
}

#[test]
fn imported_alias_keeps_its_dates() {
    let core = core();
    core.import(rotated_key(&self::core())).unwrap();
    let alias = Alias {
        name: "alias/a".into(),
        target: KeyId::new("key"),
        created: at("2020-01-01T00:00:00Z"),
        updated: at("2021-01-01T00:00:00Z"),
    };
    core.import_alias(&realm(), alias.clone()).unwrap();
    assert_eq!(core.aliases(&realm()), std::slice::from_ref(&alias));
    assert!(core.import_alias(&realm(), alias).is_err());
}

#[test]
fn derived_material_depends_on_secret_and_context_only() {
    // HKDF-SHA256 by Python's hmac: info is "kmslab material 1", four zero bytes, "key 1".
    let aes = ImportedMaterial::derive(Algorithm::AES_256, b"secret", b"key 1").unwrap();
    assert_eq!(
        hex::encode(aes.as_bytes()),
        "0811d6d3d1cccf4274c5ae0048c237e0c02a016779a700f29df5b9ddbad39811"
    );
    for (algorithm, _) in ALGORITHMS {
        let derived = |secret: &[u8], context: &[u8]| {
            ImportedMaterial::derive(*algorithm, secret, context)
                .map(|material| material.as_bytes().to_vec())
        };
        let Ok(first) = derived(b"secret", b"key 1") else {
            assert!(
                matches!(
                    algorithm,
                    Algorithm::Rsa { .. }
                        | Algorithm::Ec(Curve::Secp256k1)
                        | Algorithm::Kem(Kem::MlKem768 | Kem::MlKem1024)
                ),
                "{algorithm:?}"
            );
            continue;
        };
        assert_eq!(derived(b"secret", b"key 1").unwrap(), first);
        assert_ne!(derived(b"secret", b"key 2").unwrap(), first);
        assert_ne!(derived(b"other", b"key 1").unwrap(), first);
        ImportedMaterial::parse(*algorithm, &first).unwrap();
    }
}
