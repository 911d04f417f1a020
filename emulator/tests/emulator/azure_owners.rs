//! A principal with all permissions in one vault reaches nothing of another, however a request
//! names the two.

use kmslab_emulator::seed::{AzureSeed, SeedApplication, SeedPolicy, SeedRole, SeedVault};
use kmslab_emulator::well_known::{
    AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_OBJECT_ID, AZURE_TENANT,
};
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::azure_refusals::token;
use crate::support::{self, Answer};

const ME: &str = "11111111-2222-4333-8444-555555555555";
const MY_OBJECT: &str = "66666666-7777-4888-8999-aaaaaaaaaaaa";
const VAULTS: &str = "https://vault.azure.net";
const VERSION: &str = "api-version=7.6";

/// Creates the vaults `mine` and `theirs`. The tested principal may do everything in the first, the
/// well-known application in both.
async fn two_vaults(rbac: bool) -> Emulator {
    let all = |object: &str| SeedPolicy::new(object, ["all"]);
    let role = |object: &str| SeedRole {
        object_id: object.into(),
        role: "Key Vault Administrator".into(),
    };
    let vault = |name: &str, objects: &[&str]| SeedVault {
        policies: if rbac {
            Vec::new()
        } else {
            objects.iter().map(|object| all(object)).collect()
        },
        roles: if rbac {
            objects.iter().map(|object| role(object)).collect()
        } else {
            Vec::new()
        },
        ..SeedVault::new(name)
    };
    let me = SeedApplication {
        secret: Some(AZURE_CLIENT_SECRET.into()),
        ..SeedApplication::new(ME, MY_OBJECT)
    };
    let azure = AzureSeed {
        applications: vec![me],
        vaults: vec![
            vault("mine", &[AZURE_OBJECT_ID, MY_OBJECT]),
            vault("theirs", &[AZURE_OBJECT_ID]),
        ],
        ..AzureSeed::default()
    };
    Emulator::builder()
        .seed(SeedFile {
            azure,
            ..SeedFile::default()
        })
        .start()
        .await
        .unwrap()
}

struct Caller<'a> {
    emulator: &'a Emulator,
    token: String,
}

impl Caller<'_> {
    async fn ask(&self, host: &str, method: &str, path: &str, body: &Value) -> Answer {
        support::ask(
            self.emulator.http_addr(),
            host,
            Some(&self.token),
            (method, path),
            body,
        )
        .await
    }
}

/// Everything in the other vault.
async fn theirs(owner: &Caller<'_>) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in [
        "/keys",
        "/keys/k",
        "/keys/k/versions",
        "/keys/k/rotationpolicy",
        "/deletedkeys",
        "/deletedkeys/gone",
    ] {
        let answer = owner
            .ask(
                "theirs.vault.azure.net",
                "GET",
                &format!("{path}?{VERSION}"),
                &Value::Null,
            )
            .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        seen.push(answer.json);
    }
    seen
}

async fn crossed(rbac: bool) {
    let emulator = two_vaults(rbac).await;
    let owner = Caller {
        emulator: &emulator,
        token: token(&emulator, AZURE_CLIENT_ID, VAULTS).await,
    };
    let me = Caller {
        emulator: &emulator,
        token: token(&emulator, ME, VAULTS).await,
    };
    for vault in ["mine", "theirs"] {
        let host = format!("{vault}.vault.azure.net");
        for key in ["k", "gone"] {
            let (path, body) = (
                format!("/keys/{key}/create?{VERSION}"),
                json!({ "kty": "oct-HSM" }),
            );
            assert_eq!(owner.ask(&host, "POST", &path, &body).await.status, 200);
        }
        assert_eq!(
            owner
                .ask(
                    &host,
                    "DELETE",
                    &format!("/keys/gone?{VERSION}"),
                    &Value::Null
                )
                .await
                .status,
            200
        );
    }
    let before = theirs(&owner).await;
    let kid = before[1]["key"]["kid"].as_str().unwrap().to_owned();
    let use_it = json!({ "alg": "A256KW", "value": "AAAAAAAAAAAAAAAAAAAAAA", "kid": kid });
    let policy = json!({ "lifetimeActions": [] });
    let operations = [
        (
            "POST",
            "keys/k/create",
            json!({ "kty": "oct-HSM", "kid": kid }),
        ),
        (
            "PUT",
            "keys/k",
            json!({ "key": { "kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAA", "kid": kid }, "Hsm": true }),
        ),
        ("GET", "keys/k", Value::Null),
        ("GET", "keys", Value::Null),
        ("GET", "keys/k/versions", Value::Null),
        (
            "PATCH",
            "keys/k",
            json!({ "attributes": { "enabled": false } }),
        ),
        ("DELETE", "keys/k", Value::Null),
        ("POST", "keys/k/backup", Value::Null),
        ("GET", "deletedkeys", Value::Null),
        ("GET", "deletedkeys/gone", Value::Null),
        ("DELETE", "deletedkeys/gone", Value::Null),
        ("POST", "deletedkeys/gone/recover", Value::Null),
        ("POST", "keys/k/rotate", Value::Null),
        ("GET", "keys/k/rotationpolicy", Value::Null),
        ("PUT", "keys/k/rotationpolicy", policy),
        ("POST", "keys/k/wrapkey", use_it.clone()),
        ("POST", "keys/k/unwrapkey", use_it.clone()),
        ("POST", "keys/k/encrypt", use_it.clone()),
        ("POST", "keys/k/decrypt", use_it.clone()),
        ("POST", "keys/k/release", json!({ "target": "x" })),
        ("POST", "rng", json!({ "count": 8 })),
    ];
    for (method, path, body) in &operations {
        for (host, path) in [
            ("theirs.vault.azure.net", format!("/{path}")),
            ("THEIRS.vault.azure.net:443", format!("//{path}")),
            ("localhost", format!("/theirs/{path}")),
            ("localhost", format!("//THEIRS/{path}")),
            ("mine.vault.azure.net", format!("/theirs/{path}")),
            ("mine.vault.azure.net", format!("/../theirs/{path}")),
            ("localhost", format!("/mine/../theirs/{path}")),
            ("localhost", format!("/mine%2F..%2Ftheirs/{path}")),
            ("theirs.vault.azure.net", format!("/mine/{path}")),
        ] {
            let answer = me
                .ask(host, method, &format!("{path}?{VERSION}"), body)
                .await;
            assert!(
                (400..500).contains(&answer.status),
                "{method} {host}{path}: {}",
                answer.text
            );
        }
        // Additional names in body or query are ignored: the key stays the caller's own.
        let path =
            format!("/{path}?{VERSION}&vault=theirs&vaultBaseUrl=https://theirs.vault.azure.net");
        let answer = me.ask("mine.vault.azure.net", method, &path, body).await;
        assert!(
            !answer.text.contains("theirs.vault"),
            "{method} {path}: {}",
            answer.text
        );
    }
    assert_eq!(theirs(&owner).await, before);
}

#[tokio::test]
async fn policies_on_one_vault_grant_nothing_in_another() {
    crossed(false).await;
}

#[tokio::test]
async fn role_on_one_vault_grants_nothing_in_another() {
    crossed(true).await;
}

#[tokio::test]
async fn vault_permissions_do_not_allow_management() {
    let emulator = two_vaults(true).await;
    let me = Caller {
        emulator: &emulator,
        token: token(&emulator, ME, "https://management.azure.com").await,
    };
    let subscription = format!("/subscriptions/{AZURE_TENANT}");
    let vaults =
        format!("{subscription}/resourceGroups/kmslab/providers/Microsoft.KeyVault/vaults");
    let assignment =
        "providers/Microsoft.Authorization/roleAssignments/22222222-2222-4333-8444-555555555555";
    let role = json!({ "properties": {
        "roleDefinitionId": "00482a5a-887f-4fb3-b363-3b7fe8e74483", "principalId": MY_OBJECT,
        "scope": format!("{vaults}/theirs"),
    } });
    for (method, path, body) in [
        ("GET", format!("{vaults}/theirs"), Value::Null),
        (
            "PATCH",
            format!("{vaults}/theirs"),
            json!({ "properties": { "enableRbacAuthorization": false } }),
        ),
        ("DELETE", format!("{vaults}/theirs"), Value::Null),
        (
            "PUT",
            format!("{vaults}/theirs/accessPolicies/add"),
            json!({ "properties": { "accessPolicies": [] } }),
        ),
        ("PUT", format!("{vaults}/theirs/{assignment}"), role.clone()),
        // On the own resource, with another scope in the body.
        ("PUT", format!("{vaults}/mine/{assignment}"), role.clone()),
        ("PUT", format!("{subscription}/{assignment}"), role),
    ] {
        let answer = me
            .ask(
                "management.azure.com",
                method,
                &format!("{path}?api-version=2022-04-01"),
                &body,
            )
            .await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
    }
    let me = Caller {
        emulator: &emulator,
        token: token(&emulator, ME, VAULTS).await,
    };
    let path = format!("/keys?{VERSION}");
    assert_eq!(
        me.ask("theirs.vault.azure.net", "GET", &path, &Value::Null)
            .await
            .status,
        403
    );
}
