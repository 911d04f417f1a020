//! Keys made elsewhere, versions with dates of their own, backups.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kmslab_keycore::{
    AesMode, Algorithm, Curve, Hash, KeyCore, KeyError, KeyId, KeyState, ManualClock, Material,
    MemoryStore, NewKey, NewVersion, Period, PublicKey, Purpose, Realm, RsaPadding, RsaParts,
    SignInput, SignatureAlgorithm, SystemEntropy, Trigger, VersionState,
};

// Made by `openssl genrsa 2048` for this test.
const N: &str = "cb895cef00ba89cd747f3ec1f83cd887655df01a46cc24b042bf8f70c453aadf591ec5ba8bdbc5923efc3fd852b45b470ded0d3b09004e\
     ace63bd0ee46708196c639cce6cc0944abc2cfbe4bdf305b525b16f41ce8fb8cb417265ffd47010ae9f6f700d6aa0cd22864c7d94a0023\
     6fdfc36208d5f75e5f1ba2049b6816d32d3519c0a9afb15c11d8efe837fd99d77773441a5e4a512c5143bb42dbba10582ef16870756c68\
     67d32e337c5b924403fd8cbd5e5ccbc2459bf4a7d63603cd18a1f835d6de7a7af71192d1fdedbb8fdc8326a094a2ebb2e2c979db0b6184\
     684e4587cad3117c687dab70249882008dc51e6bafc8d97601b29bb9ee09f5a548091bab";
const E: &str = "010001";
const D: &str = "17894e645aeeb741b96f7f77d9b75b88a8a9a8bab9262135faba0121d6aa202fccb3f8c47e28cf5b7e8a17edf17e66b1bc4405cc2659d1\
     3f402e79961c3225622491098744dfeb7f7b3b1fb3d15edba895dcfd249cb27e0e5340fe47a11ed73ebfeec73b8b9588f5dfd596646ec8\
     aa46b366d243bfe3bb56cc31013193b61edb7895ff47b09b4857e2927b90633a9a281921ded4edd9ee150a151f43753f6a607f249c270e\
     b1a99aebb1817afc216e3719b8261e88dab5cbb91630a0f9885c2b09e88177188a87e087cd1940d704bae6937d17335126c16452c3f1be\
     69938ef519d643d6ac3c62a29ddb2deaf7ca03ebf045954e16098ff7b4b43476abab3629";
const P: &str = "fa8152b6d2902d82605b6414f97c6b6b87f5824a1c32175f2d0ab4c2133714b98ea412704a75ca8be6c9b26a1d367a1d468549f6548aec\
     025db044210201826c459d1bb2e2bc16de4f01327387d0e09b965e5bc553bd512dd7923e66ec94b9652fe1daa98102915b44b0e00553f5\
     e521a259267816c941d162ed13cdf460bb53";
const Q: &str = "d0004b58788bc795fc30b8fd97fed9563f0aaa14c178e70c874158740fbf091844198798b0ff8d6b616849ea436674e012429fb9124775\
     9c6ce919a7f1898ba0e1173e013d57755b7ef68c4bb89c25c466d49d3da250a395427af601d2e0a9c9d6c54fb8bd4112951606e2fc4cbe\
     5c4db607ca3e5749f6102d9d097810386b49";
const D_P: &str = "9dc7628fa0240b65f8c6d74c96af15018f8ac4db64d2f001945f0fe6c52f8630317589df8c2690c2794444c9ad48a8b553bb941040c397\
     4f0e2f7d59c4e7aa7c0384a6f38ef7a4f7b48f2e75b1ef8fe8af57133a403a17ad65ffc8aa0f0cc590c40ddf29b0062c036e4a716f29a8\
     d0fed4408e8848e1ce40d1ac3d33155eefdd";
const D_Q: &str = "cf1b2bea9884dda30aebdc96ad0c558d59d21d8df3229634544c8d6d6aec557af2fbd49705ce3f1ae76f7701aa40cf28f9259b7224b040\
     7c13b97a114e201d867ff9ab8482769de50fa320089975e8e90956b486552323ee8fb66d535d8cd3a2a495ec8e4eeb073ca9250c481986\
     05d45ee69ccabc1169cfac0b4c0d5f613df9";
const Q_INV: &str = "8a8bf186fa3337b8f8d248104f6b95364dfc409e167d677c54d3111ed9d02d10b2df7ff23f10d275879d46842f8472a654be190c37e348\
     85d1ba125c292d4e04bbc91fc372c9d8b8d8bb977129d17643cdbd27b9b5e69ffee317c542ec3a64c87947a76f38cb4c34aec1333bfd8e\
     090bc8092e05d6a1304f65e341b0e1962a69";
// Made by `openssl ecparam -name prime256v1 -genkey`.
const EC_D: &str = "637768b1da9b0f062d1645836dbca125b9fae5fc69782c08e32e03f9e3b55a65";
const EC_X: &str = "71fbb5b2d12389c94a796b96c831582c36949e2fb2730aa5746afcf0ef59e360";
const EC_Y: &str = "7edbe0a98864fa60983d915afbfc811783fd4d0d7fb1805221f7d3da5534cd16";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn core() -> (KeyCore, ManualClock, Realm) {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let core = KeyCore::new(
        Arc::new(MemoryStore::default()),
        Arc::new(clock.clone()),
        Arc::new(SystemEntropy),
    );
    (core, clock, Realm::new("r"))
}

fn make(core: &KeyCore, realm: &Realm, first: NewVersion) -> KeyId {
    let id = KeyId::new("k");
    let new = NewKey {
        id: id.clone(),
        algorithm: first.algorithm,
        first: Some(first),
        purpose: Purpose::Any,
        description: String::new(),
        labels: BTreeMap::new(),
        policy: None,
        attributes: BTreeMap::new(),
    };
    core.create(realm, new).unwrap();
    id
}

fn imported(material: Material) -> NewVersion {
    NewVersion {
        material: Some(material.clone()),
        ..NewVersion::of(material.algorithm())
    }
}

#[test]
fn an_rsa_key_from_elsewhere_keeps_its_public_key_and_works() {
    let [n, e, d, p, q, d_p, d_q, q_inv] = [N, E, D, P, Q, D_P, D_Q, Q_INV].map(bytes);
    let parts = RsaParts {
        n: &n,
        e: &e,
        d: &d,
        p: &p,
        q: &q,
        d_p: &d_p,
        d_q: &d_q,
        q_inv: &q_inv,
    };
    let (core, _, realm) = core();
    let material = Material::rsa(&parts).unwrap();
    assert!(!format!("{material:?} {parts:?}").contains(&D[..16]));
    let id = make(&core, &realm, imported(material));
    let version = core.key(&realm, &id).unwrap().primary.unwrap();
    let at = (&realm, &id, &version);
    let public = core.public_key(at).unwrap();
    assert!(
        matches!(&public, PublicKey::Rsa { n: shown, e: exponent, .. } if *shown == n && *exponent == e)
    );
    let body = core
        .encrypt_rsa(at, RsaPadding::OaepSha256, b"seed")
        .unwrap();
    assert_eq!(
        *core.decrypt_rsa(at, RsaPadding::OaepSha256, &body).unwrap(),
        b"seed"
    );

    let wrong = RsaParts { d: &p, ..parts };
    assert_eq!(Material::rsa(&wrong).unwrap_err(), KeyError::BadMaterial);
    let short = RsaParts {
        n: &n[1..],
        ..parts
    };
    assert_eq!(Material::rsa(&short).unwrap_err(), KeyError::BadMaterial);
}

#[test]
fn a_curves_key_must_be_on_its_curve_and_its_own() {
    let [d, x, y] = [EC_D, EC_X, EC_Y].map(bytes);
    let material = Material::ec(Curve::P256, &d, &x, &y).unwrap();
    let (core, _, realm) = core();
    let id = make(&core, &realm, imported(material));
    let version = core.key(&realm, &id).unwrap().primary.unwrap();
    let at = (&realm, &id, &version);
    assert!(matches!(core.public_key(at).unwrap(), PublicKey::Ec { x: shown, .. } if shown == x));
    let how = SignatureAlgorithm::Ecdsa(Hash::Sha256);
    let signature = core.sign(at, how, SignInput::Message(b"m")).unwrap();
    assert!(
        core.verify(at, how, SignInput::Message(b"m"), &signature)
            .unwrap()
    );

    for (curve, d, x, y) in [
        (Curve::Secp256k1, &d, &x, &y),
        (Curve::P384, &d, &x, &y),
        (Curve::P256, &x, &x, &y),
        (Curve::P256, &d, &y, &x),
    ] {
        assert_eq!(
            Material::ec(curve, d, x, y).unwrap_err(),
            KeyError::BadMaterial,
            "{curve:?}"
        );
    }
    for len in [0, 15, 33] {
        assert_eq!(
            Material::aes(&vec![0; len]).unwrap_err(),
            KeyError::BadMaterial
        );
    }
}

#[test]
fn a_key_may_change_its_kind_and_older_versions_stay_what_they_were() {
    let (core, _, realm) = core();
    let id = make(&core, &realm, NewVersion::of(Algorithm::Aes { bits: 192 }));
    let first = core.key(&realm, &id).unwrap().primary.unwrap();
    let body = core
        .encrypt_aes((&realm, &id, &first), AesMode::Gcm, &[0; 12], b"m", b"")
        .unwrap();
    let key = core
        .add_version(&realm, &id, NewVersion::of(Algorithm::Ec(Curve::P256)))
        .unwrap();
    assert_eq!(
        (
            key.versions.len(),
            key.algorithm,
            key.primary().unwrap().number
        ),
        (2, Algorithm::Ec(Curve::P256), 2)
    );
    assert_eq!(
        *core
            .decrypt_aes((&realm, &id, &first), AesMode::Gcm, &[0; 12], &body, b"")
            .unwrap(),
        b"m"
    );
    let wrong = core.encrypt_aes(
        (&realm, &id, &key.primary.unwrap()),
        AesMode::Gcm,
        &[0; 12],
        b"m",
        b"",
    );
    assert!(matches!(wrong, Err(KeyError::WrongAlgorithm { .. })));
}

#[test]
fn outside_its_dates_a_version_protects_nothing_and_opens_what_it_protected() {
    let (core, clock, realm) = core();
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let dated = NewVersion {
        not_before: Some(at(10)),
        expires: Some(at(20)),
        ..NewVersion::of(Algorithm::Aes { bits: 256 })
    };
    let id = make(&core, &realm, dated);
    let version = core.key(&realm, &id).unwrap().primary.unwrap();
    let named = (&realm, &id, &version);
    let seal = || core.encrypt_aes(named, AesMode::Gcm, &[0; 12], b"m", b"");
    assert_eq!(seal(), Err(KeyError::NotYetValid { at: at(10) }));
    assert_eq!(
        core.seal(&realm, &id, b"m", b""),
        Err(KeyError::NotYetValid { at: at(10) })
    );
    clock.advance(Duration::from_secs(10)).unwrap();
    let body = seal().unwrap();
    clock.advance(Duration::from_secs(10)).unwrap();
    assert_eq!(seal(), Err(KeyError::Expired { at: at(20) }));
    assert_eq!(
        *core
            .decrypt_aes(named, AesMode::Gcm, &[0; 12], &body, b"")
            .unwrap(),
        b"m"
    );
    core.update_version(
        &realm,
        &id,
        &version,
        Some(VersionState::Disabled),
        |fields| *fields.expires = None,
    )
    .unwrap();
    assert!(matches!(seal(), Err(KeyError::VersionUnusable { .. })));
    let key = core
        .update_version(&realm, &id, &version, Some(VersionState::Enabled), |_| ())
        .unwrap();
    assert_eq!(key.primary().unwrap().updated, core.now());
    seal().unwrap();
}

#[test]
fn a_version_counted_from_its_making_moves_the_schedule() {
    let (core, clock, realm) = core();
    let day = |n: u32| Duration::from_hours(24) * n;
    let id = make(&core, &realm, NewVersion::of(Algorithm::AES_256));
    let trigger = Some(Trigger::AfterCreation(Period::days(90)));
    core.set_rotation(&realm, &id, trigger, None, Some(Period::days(365)))
        .unwrap();
    clock.advance(day(30)).unwrap();
    let key = core.rotate_now(&realm, &id, None).unwrap();
    assert_eq!(key.rotation.next, Some(core.now() + day(90)));
    assert_eq!(key.primary().unwrap().expires, Some(core.now() + day(365)));
    clock.advance(day(200)).unwrap();
    assert_eq!(core.key(&realm, &id).unwrap().versions.len(), 4);
    core.schedule_deletion(&realm, &id, day(90)).unwrap();
    assert!(matches!(
        core.purge(&realm, &KeyId::new("other")),
        Err(KeyError::NotFound { .. })
    ));
    core.cancel_deletion(&realm, &id, KeyState::Enabled)
        .unwrap();
    assert!(matches!(
        core.purge(&realm, &id),
        Err(KeyError::NotPendingDeletion { .. })
    ));
    core.schedule_deletion(&realm, &id, day(90)).unwrap();
    core.purge(&realm, &id).unwrap();
    assert!(matches!(
        core.key(&realm, &id),
        Err(KeyError::NotFound { .. })
    ));
}

#[test]
fn a_backup_brings_every_version_back_and_only_here() {
    let (core, _, realm) = core();
    let id = make(&core, &realm, NewVersion::of(Algorithm::AES_256));
    let sealed = core.seal(&realm, &id, b"m", b"").unwrap();
    core.rotate_now(&realm, &id, None).unwrap();
    let backup = core.backup(&realm, &id).unwrap();
    assert!(matches!(
        core.restore(&realm, &backup),
        Err(KeyError::AlreadyExists { .. })
    ));
    core.schedule_deletion(&realm, &id, Duration::from_secs(60))
        .unwrap();
    assert!(matches!(
        core.restore(&realm, &backup),
        Err(KeyError::PendingDeletion { .. })
    ));
    core.purge(&realm, &id).unwrap();
    let key = core.restore(&realm, &backup).unwrap();
    assert_eq!(key.versions.len(), 2);
    assert_eq!(
        *core
            .open(
                &realm,
                &id,
                &sealed.version,
                &sealed.nonce,
                &sealed.body,
                b""
            )
            .unwrap(),
        b"m"
    );
    // Into another realm as well, as a key of its own.
    let elsewhere = core.restore(&Realm::new("elsewhere"), &backup).unwrap();
    assert_eq!(elsewhere.realm, Realm::new("elsewhere"));

    let (foreign, _, _) = self::core();
    assert_eq!(
        foreign.restore(&realm, &backup).unwrap_err(),
        KeyError::BadBackup
    );
    for cut in [0, 11, 12, backup.len() - 1] {
        assert_eq!(
            core.restore(&realm, &backup[..cut]).unwrap_err(),
            KeyError::BadBackup
        );
    }
}
