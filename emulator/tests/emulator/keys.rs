//! Management of keys: metadata, aliases, pagination, rotation, deletion, policies, tags.

use aws_sdk_kms::Client;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::types::{
    IncludeKeyMaterial, KeyMaterialState, KeySpec, KeyState, KeyUsageType, RotationType, Tag,
};
use serde_json::json;

use crate::support::{ACCOUNT, Call, sdk, started};

async fn new_key(client: &Client) -> String {
    client
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .key_id
}

fn arn(id: &str) -> String {
    format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{id}")
}

#[tokio::test]
async fn key_metadata_has_exactly_the_members_of_a_symmetric_key() {
    let emulator = started().await;
    let created = Call::new("CreateKey", r#"{"Description":"for tests"}"#)
        .send(emulator.http_addr())
        .await;
    let metadata = created.json["KeyMetadata"].as_object().unwrap();
    let names: Vec<&str> = metadata.keys().map(String::as_str).collect();
    let mut expected = vec![
        "AWSAccountId",
        "Arn",
        "CreationDate",
        "CurrentKeyMaterialId",
        "CustomerMasterKeySpec",
        "Description",
        "Enabled",
        "EncryptionAlgorithms",
        "KeyId",
        "KeyManager",
        "KeySpec",
        "KeyState",
        "KeyUsage",
        "MultiRegion",
        "Origin",
    ];
    expected.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(
        metadata["Arn"],
        json!(arn(metadata["KeyId"].as_str().unwrap()))
    );
    assert!(metadata["CreationDate"].is_f64());
    let material = metadata["CurrentKeyMaterialId"].as_str().unwrap();
    assert!(
        material.len() == 64 && material.bytes().all(|b| b.is_ascii_hexdigit()),
        "{material}"
    );
    let client = sdk(&emulator);
    let replicable = client
        .create_key()
        .multi_region(true)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    assert!(replicable.key_id().starts_with("mrk-") && replicable.multi_region() == Some(true));
    assert_eq!(
        replicable
            .multi_region_configuration()
            .unwrap()
            .primary_key()
            .unwrap()
            .region(),
        Some("us-east-1")
    );
}

#[tokio::test]
async fn unsupported_key_specs_are_rejected() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let rejected = client
        .create_key()
        .key_spec(KeySpec::Rsa2048)
        .key_usage(KeyUsageType::SignVerify)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(rejected.code(), Some("UnsupportedOperationException"));
    let rejected = Call::new("CreateKey", r#"{"KeySpec":"DES"}"#)
        .send(emulator.http_addr())
        .await;
    assert!(
        rejected.message().starts_with(
            "1 validation error detected: Value 'DES' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value \
             set: ["
        ),
        "{}",
        rejected.text
    );
    let usage = Call::new("CreateKey", r#"{"KeyUsage":"SIGN_VERIFY"}"#)
        .send(emulator.http_addr())
        .await;
    assert_eq!(
        usage.message(),
        "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT"
    );
    assert!(client.list_keys().send().await.unwrap().keys().is_empty());
}

#[tokio::test]
async fn aws_lists_are_paginated() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let mut created = Vec::new();
    for n in 0..5 {
        let key = new_key(&client).await;
        client
            .create_alias()
            .alias_name(format!("alias/{n}"))
            .target_key_id(&key)
            .send()
            .await
            .unwrap();
        created.push(key);
    }
    let pages = client
        .list_keys()
        .into_paginator()
        .page_size(2)
        .items()
        .send();
    let mut listed: Vec<String> = pages
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap()
        .into_iter()
        .map(|key| key.key_id.unwrap())
        .collect();
    listed.sort_unstable();
    created.sort_unstable();
    assert_eq!(listed, created);
    let first = client.list_aliases().limit(3).send().await.unwrap();
    assert!(first.truncated() && first.aliases().len() == 3);
    let rest = client
        .list_aliases()
        .marker(first.next_marker().unwrap())
        .send()
        .await
        .unwrap();
    assert!(!rest.truncated() && rest.next_marker().is_none());
    assert_eq!(rest.aliases().len(), 2);
    let bad = client
        .list_keys()
        .marker("?")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(bad.is_invalid_marker_exception());
}

#[tokio::test]
async fn alias_is_created_updated_and_deleted() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let (one, two) = (new_key(&client).await, new_key(&client).await);
    let create = |name: &str| client.create_alias().alias_name(name).target_key_id(&one);
    create("alias/k8s-secrets").send().await.unwrap();
    let exists = create("alias/k8s-secrets")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let words = format!(
        "An alias with the name arn:aws:kms:us-east-1:{ACCOUNT}:alias/k8s-secrets already exists"
    );
    assert!(
        exists.is_already_exists_exception() && exists.message() == Some(words.as_str()),
        "{exists:?}"
    );
    for (name, code) in [
        ("k8s-secrets", "ValidationException"),
        ("alias/", "ValidationException"),
        ("alias/with space", "ValidationException"),
        ("alias/aws/mine", "NotAuthorizedException"),
    ] {
        let rejected = create(name).send().await.unwrap_err().into_service_error();
        assert_eq!(rejected.code(), Some(code), "{name}");
    }
    // Management operations accept no alias.
    let rejected = client
        .disable_key()
        .key_id("alias/k8s-secrets")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(
        rejected.message(),
        Some("Invalid keyId 'alias/k8s-secrets'")
    );
    client
        .update_alias()
        .alias_name("alias/k8s-secrets")
        .target_key_id(&two)
        .send()
        .await
        .unwrap();
    let listed = client.list_aliases().key_id(&two).send().await.unwrap();
    assert_eq!(listed.aliases()[0].target_key_id(), Some(two.as_str()));
    assert!(listed.aliases()[0].last_updated_date() >= listed.aliases()[0].creation_date());
    assert!(
        client
            .list_aliases()
            .key_id(&one)
            .send()
            .await
            .unwrap()
            .aliases()
            .is_empty()
    );
    client
        .delete_alias()
        .alias_name("alias/k8s-secrets")
        .send()
        .await
        .unwrap();
    let removed = client
        .delete_alias()
        .alias_name("alias/k8s-secrets")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let words = format!("Alias arn:aws:kms:us-east-1:{ACCOUNT}:alias/k8s-secrets is not found.");
    assert!(
        removed.is_not_found_exception() && removed.message() == Some(words.as_str()),
        "{removed:?}"
    );
}

#[tokio::test]
async fn rotation_status_history_and_limit() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    let status = client
        .get_key_rotation_status()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    assert!(!status.key_rotation_enabled() && status.rotation_period_in_days().is_none());
    for (days, fits) in [(89, false), (90, true), (2560, true), (2561, false)] {
        let enabled = client
            .enable_key_rotation()
            .key_id(&key)
            .rotation_period_in_days(days)
            .send()
            .await;
        assert_eq!(enabled.is_ok(), fits, "{days}");
    }
    client
        .enable_key_rotation()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    let status = client
        .get_key_rotation_status()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (status.key_id(), status.rotation_period_in_days()),
        (Some(arn(&key).as_str()), Some(365))
    );
    assert!(status.next_rotation_date().is_some());
    emulator
        .clock()
        .advance(std::time::Duration::from_hours(24 * 366))
        .await
        .unwrap();
    for _ in 0..25 {
        client
            .rotate_key_on_demand()
            .key_id(&key)
            .send()
            .await
            .unwrap();
    }
    let limit = client
        .rotate_key_on_demand()
        .key_id(&key)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(
        limit.is_limit_exceeded_exception() && limit.message().unwrap().ends_with(&arn(&key)),
        "{limit:?}"
    );
    let rotations = client
        .list_key_rotations()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    let kinds: Vec<_> = rotations
        .rotations()
        .iter()
        .map(|entry| entry.rotation_type().unwrap())
        .collect();
    assert_eq!(kinds.len(), 26);
    assert_eq!(
        kinds[..2],
        [&RotationType::Automatic, &RotationType::OnDemand]
    );
    let all = client
        .list_key_rotations()
        .key_id(&key)
        .include_key_material(IncludeKeyMaterial::AllKeyMaterial);
    let all = all.send().await.unwrap();
    let states: Vec<_> = all
        .rotations()
        .iter()
        .map(|entry| entry.key_material_state().unwrap())
        .collect();
    assert_eq!(states.len(), 27);
    assert_eq!(
        states
            .iter()
            .filter(|state| **state == &KeyMaterialState::Current)
            .count(),
        1
    );
    assert_eq!(states[26], &KeyMaterialState::Current);
    client
        .disable_key_rotation()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    assert!(
        !client
            .get_key_rotation_status()
            .key_id(&key)
            .send()
            .await
            .unwrap()
            .key_rotation_enabled()
    );
}

#[tokio::test]
async fn deletion_is_scheduled_and_cancelled() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let key = new_key(&client).await;
    for days in [6, 31] {
        let rejected = client
            .schedule_key_deletion()
            .key_id(&key)
            .pending_window_in_days(days)
            .send()
            .await;
        let rejected = rejected.unwrap_err().into_service_error();
        assert_eq!(
            rejected.message(),
            Some("PendingWindowInDays must be between 7 and 30")
        );
    }
    let early = client
        .cancel_key_deletion()
        .key_id(&key)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(
        early.message(),
        Some(format!("{} is not pending deletion.", arn(&key)).as_str())
    );
    let scheduled = client
        .schedule_key_deletion()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (scheduled.key_id(), scheduled.pending_window_in_days()),
        (Some(arn(&key).as_str()), Some(30))
    );
    let described = client
        .describe_key()
        .key_id(&key)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    assert_eq!(described.key_state(), Some(&KeyState::PendingDeletion));
    assert_eq!(described.deletion_date(), scheduled.deletion_date());
    let pending = format!("{} is pending deletion.", arn(&key));
    let tag = Tag::builder().tag_key("a").tag_value("b").build().unwrap();
    let tagged = client
        .tag_resource()
        .key_id(&key)
        .tags(tag)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(tagged.is_kms_invalid_state_exception() && tagged.message() == Some(pending.as_str()));
    let enabled = client
        .enable_key()
        .key_id(&key)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(enabled.message(), Some(pending.as_str()));
    client
        .cancel_key_deletion()
        .key_id(&key)
        .send()
        .await
        .unwrap();
    let described = client
        .describe_key()
        .key_id(&key)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    assert_eq!(
        (described.key_state(), described.deletion_date()),
        (Some(&KeyState::Disabled), None)
    );
}

#[tokio::test]
async fn policies_tags_and_descriptions_round_trip() {
    let emulator = started().await;
    let client = sdk(&emulator);
    let tag = |key: &str, value: &str| {
        Tag::builder()
            .tag_key(key)
            .tag_value(value)
            .build()
            .unwrap()
    };
    let created = client
        .create_key()
        .tags(tag("team", "blue"))
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    let key = created.key_id();
    let default = client.get_key_policy().key_id(key).send().await.unwrap();
    assert!(
        default
            .policy()
            .unwrap()
            .contains(&format!("\"AWS\" : \"arn:aws:iam::{ACCOUNT}:root\""))
    );
    let policy = r#"{ "Version": "2012-10-17",  "Statement": [] }"#;
    client
        .put_key_policy()
        .key_id(key)
        .policy(policy)
        .send()
        .await
        .unwrap();
    let stored = client
        .get_key_policy()
        .key_id(key)
        .policy_name("default")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (stored.policy(), stored.policy_name()),
        (Some(policy), Some("default"))
    );
    let bad = client
        .put_key_policy()
        .key_id(key)
        .policy("not JSON")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(bad.is_malformed_policy_document_exception());

    client
        .tag_resource()
        .key_id(key)
        .tags(tag("team", "red"))
        .tags(tag("env", ""))
        .send()
        .await
        .unwrap();
    client
        .untag_resource()
        .key_id(key)
        .tag_keys("env")
        .send()
        .await
        .unwrap();
    let tags = client
        .list_resource_tags()
        .key_id(key)
        .send()
        .await
        .unwrap();
    assert_eq!(tags.tags(), [tag("team", "red")]);
    for (tags, words) in [
        (vec![tag("a", "1"), tag("a", "2")], "Duplicate tag keys"),
        (
            vec![tag("AWS:a", "1")],
            "Tags beginning with aws: are reserved",
        ),
        (
            (0..51).map(|n| tag(&n.to_string(), "")).collect(),
            "Too many tags",
        ),
    ] {
        let rejected = client
            .tag_resource()
            .key_id(key)
            .set_tags(Some(tags))
            .send()
            .await
            .unwrap_err();
        let rejected = rejected.into_service_error();
        assert!(
            rejected.is_tag_exception() && rejected.message() == Some(words),
            "{rejected:?}"
        );
    }
    client
        .update_key_description()
        .key_id(key)
        .description("new")
        .send()
        .await
        .unwrap();
    let described = client
        .describe_key()
        .key_id(key)
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap();
    assert_eq!(described.description(), Some("new"));
}
