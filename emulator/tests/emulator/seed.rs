//! The seed file.

use std::fs;

use kmslab_emulator::{Emulator, SeedFile, StartError};

use crate::support::{admin, free_port, sdk, sdk_as};

const SEED: &str = r#"
credentials:
  - id: AKIASEEDED
    secret: a-seeded-secret
    account: "111122223333"
keys:
  - aliases: [alias/first, alias/again]
    description: the first
    tags: {team: blue}
    rotationPeriodInDays: 90
  - account: "111122223333"
    region: eu-central-1
    keySpec: SYMMETRIC_DEFAULT
    aliases: [alias/there]
"#;

fn seed(text: &str) -> Result<SeedFile, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed.yaml");
    fs::write(&path, text).unwrap();
    SeedFile::read(&path).map_err(|error| error.to_string())
}

#[tokio::test]
async fn seeded_keys_exist_at_start_and_after_reset() {
    let builder = Emulator::builder()
        .admin_listen(free_port())
        .seed(seed(SEED).unwrap());
    let emulator = builder.start().await.unwrap();
    for _ in 0..2 {
        let default = sdk(&emulator);
        let first = default
            .describe_key()
            .key_id("alias/first")
            .send()
            .await
            .unwrap()
            .key_metadata
            .unwrap();
        let again = default
            .describe_key()
            .key_id("alias/again")
            .send()
            .await
            .unwrap()
            .key_metadata
            .unwrap();
        assert_eq!(
            (first.key_id(), first.description()),
            (again.key_id(), Some("the first"))
        );
        let status = default
            .get_key_rotation_status()
            .key_id(first.key_id())
            .send()
            .await
            .unwrap();
        assert_eq!(status.rotation_period_in_days(), Some(90));
        let seeded = sdk_as(&emulator, "AKIASEEDED", "a-seeded-secret", "eu-central-1");
        let there = seeded
            .describe_key()
            .key_id("alias/there")
            .send()
            .await
            .unwrap()
            .key_metadata
            .unwrap();
        assert!(
            there
                .arn()
                .unwrap()
                .starts_with("arn:aws:kms:eu-central-1:111122223333:key/"),
            "{there:?}"
        );
        assert_eq!(admin(&emulator, "/reset", Some("")).await.status, 200);
    }
}

#[tokio::test]
async fn invalid_seed_error_names_the_entry_and_repeats_no_secret() {
    let typo =
        seed("credentials:\n  - {id: A, secert: hunter2, account: '111122223333'}\n").unwrap_err();
    assert!(
        typo.contains("secert") && typo.contains("seed.yaml") && !typo.contains("hunter2"),
        "{typo}"
    );
    let bad_alias = seed("keys:\n  - aliases: [no-prefix]\n").unwrap();
    let error = Emulator::builder()
        .seed(bad_alias)
        .start()
        .await
        .unwrap_err();
    assert!(matches!(&error, StartError::Seed(_)) && !error.is_environment());
    assert!(
        error
            .to_string()
            .contains("keys[0] (no-prefix): CreateAlias was refused with ValidationException"),
        "{error}"
    );
    let bad_account = seed("credentials: [{id: A, secret: s, account: '1'}]").unwrap();
    let error = Emulator::builder()
        .seed(bad_account)
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("must be 12 digits"), "{error}");
    let debug = format!("{:?}", seed(SEED).unwrap());
    assert!(!debug.contains("a-seeded-secret"), "{debug}");
}
