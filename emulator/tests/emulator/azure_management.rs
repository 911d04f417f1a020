//! Resource Manager and Graph: permissions, errors, and enforcement by the data plane.

use kmslab_emulator::seed::{AzureSeed, SeedApplication};
use kmslab_emulator::well_known::{
    AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_OBJECT_ID, AZURE_TENANT,
};
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::support::{self, Answer, admin, free_port, send};

const OTHER: &str = "11111111-2222-4333-8444-555555555555";
const OTHER_OBJECT: &str = "66666666-7777-4888-8999-aaaaaaaaaaaa";
const VAULTS: &str = "providers/Microsoft.KeyVault/vaults";

async fn started() -> Emulator {
    let application = SeedApplication {
        secret: Some(AZURE_CLIENT_SECRET.into()),
        ..SeedApplication::new(OTHER, OTHER_OBJECT)
    };
    let azure = AzureSeed {
        applications: vec![application],
        ..AzureSeed::default()
    };
    let seed = SeedFile {
        azure,
        ..SeedFile::default()
    };
    Emulator::builder()
        .admin_listen(free_port())
        .seed(seed)
        .start()
        .await
        .unwrap()
}

/// A caller of one of Azure's hosts.
struct Caller<'a> {
    emulator: &'a Emulator,
    client: &'static str,
}

impl Caller<'_> {
    async fn token(&self, resource: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={AZURE_CLIENT_SECRET}&scope={resource}/.default",
            self.client
        );
        let request = http::Request::post(format!(
            "/{}/oauth2/v2.0/token",
            self.emulator.azure_tenant()
        ))
        .header("host", "localhost");
        let answer = send(self.emulator.http_addr(), &request.body(form).unwrap()).await;
        answer.json["access_token"].as_str().unwrap().to_owned()
    }

    async fn ask(
        &self,
        host: &str,
        resource: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let token = self.token(resource).await;
        support::ask(
            self.emulator.http_addr(),
            host,
            Some(&token),
            (method, path),
            body,
        )
        .await
    }

    async fn arm(&self, method: &str, path: &str, body: Value) -> Answer {
        let path = format!("/subscriptions/{AZURE_TENANT}/{path}?api-version=2024-11-01");
        self.ask(
            "management.azure.com",
            "https://management.core.windows.net/",
            method,
            &path,
            &body,
        )
        .await
    }

    async fn vault(&self, vault: &str, method: &str, path: &str, body: Value) -> Answer {
        let (host, path) = (
            format!("{vault}.vault.azure.net"),
            format!("{path}?api-version=7.6"),
        );
        self.ask(&host, "https://vault.azure.net", method, &path, &body)
            .await
    }
}

fn owner(emulator: &Emulator) -> Caller<'_> {
    Caller {
        emulator,
        client: AZURE_CLIENT_ID,
    }
}

fn other(emulator: &Emulator) -> Caller<'_> {
    Caller {
        emulator,
        client: OTHER,
    }
}

fn vault_with(properties: Value) -> Value {
    let mut all = json!({ "tenantId": AZURE_TENANT, "sku": { "name": "standard", "family": "A" }, "accessPolicies": [] });
    all.as_object_mut()
        .unwrap()
        .extend(properties.as_object().unwrap().clone());
    json!({ "location": "westeurope", "properties": all })
}

fn policy(object: &str, keys: &[&str]) -> Value {
    json!({ "tenantId": AZURE_TENANT, "objectId": object, "permissions": { "keys": keys, "secrets": ["get"] } })
}

#[tokio::test]
async fn vault_enforces_the_policy_set_by_resource_manager() {
    let emulator = started().await;
    let (owner, other) = (owner(&emulator), other(&emulator));
    assert_eq!(
        owner
            .arm(
                "PUT",
                "resourcegroups/rg",
                json!({ "location": "West Europe" })
            )
            .await
            .status,
        201
    );
    let path = format!("resourceGroups/rg/{VAULTS}/one-vault");
    let policies = json!([policy(AZURE_OBJECT_ID, &["all"])]);
    let properties = json!({ "enableRbacAuthorization": false, "accessPolicies": policies });
    let created = owner.arm("PUT", &path, vault_with(properties)).await;
    assert_eq!(
        (created.status, &created.json["properties"]["vaultUri"]),
        (201, &"https://one-vault.vault.azure.net/".into())
    );
    assert_eq!(
        owner
            .vault(
                "one-vault",
                "POST",
                "/keys/k/create",
                json!({ "kty": "RSA" })
            )
            .await
            .status,
        200
    );
    let sealing = || json!({ "alg": "RSA-OAEP-256", "value": "AAAA" });
    let rejected = other
        .vault("one-vault", "POST", "/keys/k//encrypt", sealing())
        .await;
    assert_eq!(
        (
            rejected.status,
            &rejected.json["error"]["innererror"]["code"]
        ),
        (403, &"AccessDenied".into())
    );

    // As `set-policy` does: read the vault, add a policy, write the vault.
    let mut whole = owner.arm("GET", &path, Value::Null).await.json;
    assert_eq!(
        whole["properties"]["accessPolicies"][0]["permissions"],
        json!({ "keys": ["all"], "secrets": ["get"] })
    );
    whole["properties"]["accessPolicies"]
        .as_array_mut()
        .unwrap()
        .push(policy(OTHER_OBJECT, &["encrypt"]));
    assert_eq!(owner.arm("PUT", &path, whole).await.status, 200);
    assert_eq!(
        other
            .vault("one-vault", "POST", "/keys/k//encrypt", sealing())
            .await
            .status,
        200
    );
    assert_eq!(
        other
            .vault("one-vault", "GET", "/keys/k", Value::Null)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn configured_tenant_applies_everywhere() {
    let builder = Emulator::builder()
        .admin_listen(free_port())
        .azure_tenant(OTHER);
    let emulator = builder.start().await.unwrap();
    let owner = owner(&emulator);
    let account = owner.arm("GET", "", Value::Null).await;
    assert_eq!(
        (account.status, &account.json["tenantId"]),
        (200, &OTHER.into())
    );
    owner
        .arm("PUT", "resourcegroups/rg", json!({ "location": "eastus" }))
        .await;
    let path = format!("resourceGroups/rg/{VAULTS}/of-other");
    let rejected = owner.arm("PUT", &path, vault_with(json!({}))).await;
    assert_eq!(
        (rejected.status, &rejected.json["error"]["code"]),
        (400, &"BadRequest".into())
    );
    let created = owner
        .arm("PUT", &path, vault_with(json!({ "tenantId": OTHER })))
        .await;
    assert_eq!(
        (created.status, &created.json["properties"]["tenantId"]),
        (201, &OTHER.into())
    );
}

#[tokio::test]
async fn role_assignment_applies_to_its_scope_and_below() {
    let emulator = started().await;
    let (owner, other) = (owner(&emulator), other(&emulator));
    owner
        .arm("PUT", "resourcegroups/rg", json!({ "location": "eastus" }))
        .await;
    for name in ["vault-a", "vault-b"] {
        let with_roles = vault_with(json!({ "enableRbacAuthorization": true }));
        let created = owner
            .arm(
                "PUT",
                &format!("resourceGroups/rg/{VAULTS}/{name}"),
                with_roles,
            )
            .await;
        assert_eq!(
            created.json["properties"]["enableRbacAuthorization"], true,
            "{created:?}"
        );
    }
    let definitions = "providers/Microsoft.Authorization/roleDefinitions";
    let listed = owner.arm("GET", definitions, Value::Null).await;
    let officer = listed.json["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["properties"]["roleName"] == "Key Vault Crypto Officer");
    let officer = officer.unwrap()["id"].clone();
    let assign = |scope: String, number: u8, principal: &'static str, role: Value| {
        let name = format!("00000000-0000-4000-8000-0000000000{number:02}");
        let path = format!("{scope}providers/Microsoft.Authorization/roleAssignments/{name}");
        let body = json!({ "properties": { "roleDefinitionId": role, "principalId": principal } });
        let owner = &owner;
        async move { owner.arm("PUT", &path, body).await }
    };
    assert_eq!(
        assign(
            "resourceGroups/rg/".into(),
            1,
            AZURE_OBJECT_ID,
            officer.clone()
        )
        .await
        .status,
        201
    );
    for vault in ["vault-a", "vault-b"] {
        assert_eq!(
            owner
                .vault(vault, "POST", "/keys/k/create", json!({ "kty": "EC" }))
                .await
                .status,
            200
        );
    }
    let on_a = format!("resourceGroups/rg/{VAULTS}/vault-a/");
    assert_eq!(
        assign(on_a.clone(), 2, OTHER_OBJECT, officer.clone())
            .await
            .status,
        201
    );
    assert_eq!(
        other
            .vault("vault-a", "GET", "/keys/k", Value::Null)
            .await
            .status,
        200
    );
    let rejected = other.vault("vault-b", "GET", "/keys/k", Value::Null).await;
    assert_eq!(
        rejected.json["error"]["innererror"]["code"],
        "ForbiddenByRbac"
    );

    let again = assign(on_a, 3, OTHER_OBJECT, officer.clone()).await;
    assert_eq!(
        (again.status, &again.json["error"]["code"]),
        (409, &"RoleAssignmentExists".into())
    );
    let nobody = assign(
        String::new(),
        4,
        "99999999-0000-4000-8000-000000000000",
        officer,
    )
    .await;
    assert_eq!(
        (nobody.status, &nobody.json["error"]["code"]),
        (400, &"PrincipalNotFound".into())
    );
    let unknown = assign(String::new(), 5, OTHER_OBJECT, "no-such-role".into()).await;
    assert_eq!(
        (unknown.status, &unknown.json["error"]["code"]),
        (404, &"RoleDefinitionDoesNotExist".into())
    );
}

#[tokio::test]
async fn only_the_owner_manages_resources() {
    let emulator = started().await;
    let (owner, other) = (owner(&emulator), other(&emulator));
    let rejected = other
        .arm("PUT", "resourcegroups/rg", json!({ "location": "eastus" }))
        .await;
    assert_eq!(
        (rejected.status, &rejected.json["error"]["code"]),
        (403, &"AuthorizationFailed".into())
    );
    let mine = other
        .ask(
            "management.azure.com",
            "https://management.azure.com",
            "GET",
            "/subscriptions",
            &Value::Null,
        )
        .await;
    assert_eq!(mine.json, json!({ "value": [] }));
    owner
        .arm("PUT", "resourcegroups/rg", json!({ "location": "eastus" }))
        .await;
    let vault = |name: &str| format!("resourceGroups/rg/{VAULTS}/{name}");
    for (method, path, body, status, code) in [
        (
            "PUT",
            "resourcegroups/rg".to_owned(),
            json!({ "location": "westus" }),
            409,
            "InvalidResourceGroupLocation",
        ),
        (
            "PUT",
            "resourcegroups/other".into(),
            json!({}),
            400,
            "LocationRequired",
        ),
        (
            "GET",
            "resourcegroups/none".into(),
            Value::Null,
            404,
            "ResourceGroupNotFound",
        ),
        ("GET", vault("none"), Value::Null, 404, "ResourceNotFound"),
        (
            "PUT",
            vault("a--b"),
            vault_with(json!({})),
            400,
            "VaultNameNotValid",
        ),
        ("PUT", vault("abc"), Value::from("x"), 400, "BadRequest"),
        (
            "PUT",
            vault("abc"),
            Value::Null,
            400,
            "InvalidRequestContent",
        ),
        (
            "PUT",
            vault("abc"),
            vault_with(json!({ "softDeleteRetentionInDays": 6 })),
            400,
            "BadRequest",
        ),
        (
            "PUT",
            vault("abc"),
            vault_with(json!({ "accessPolicies": [{}] })),
            400,
            "BadRequest",
        ),
        (
            "PUT",
            vault("kmslab"),
            vault_with(json!({})),
            409,
            "VaultAlreadyExists",
        ),
        (
            "POST",
            vault("abc"),
            Value::Null,
            405,
            "HttpMethodNotSupported",
        ),
        (
            "GET",
            "resourceGroups/none/nothing".into(),
            Value::Null,
            404,
            "InvalidResourceType",
        ),
    ] {
        let answer = owner.arm(method, &path, body).await;
        assert_eq!(
            (answer.status, &answer.json["error"]["code"]),
            (status, &code.into()),
            "{method} {path}: {answer:?}"
        );
    }
    let bare = http::Request::get("/subscriptions")
        .header("host", "management.azure.com")
        .body(String::new())
        .unwrap();
    let bare = send(emulator.http_addr(), &bare).await;
    assert_eq!(
        (bare.status, &bare.json["error"]["code"]),
        (401, &"AuthenticationFailed".into())
    );
    let vaults = owner
        .ask(
            "management.azure.com",
            "https://vault.azure.net",
            "GET",
            "/subscriptions",
            &Value::Null,
        )
        .await;
    assert_eq!(
        (vaults.status, &vaults.json["error"]["code"]),
        (401, &"InvalidAuthenticationToken".into())
    );
}

#[tokio::test]
async fn deleted_vault_is_recoverable_until_its_retention_ends() {
    let emulator = started().await;
    let owner = owner(&emulator);
    owner
        .arm("PUT", "resourcegroups/rg", json!({ "location": "eastus" }))
        .await;
    let path = format!("resourceGroups/rg/{VAULTS}/one-vault");
    let put = || {
        let policies = json!([policy(AZURE_OBJECT_ID, &["all"])]);
        vault_with(
            json!({ "enableRbacAuthorization": false, "accessPolicies": policies, "softDeleteRetentionInDays": 7 }),
        )
    };
    owner.arm("PUT", &path, put()).await;
    owner
        .vault(
            "one-vault",
            "POST",
            "/keys/k/create",
            json!({ "kty": "EC" }),
        )
        .await;
    assert_eq!(owner.arm("DELETE", &path, Value::Null).await.status, 200);
    assert_eq!(
        owner
            .vault("one-vault", "GET", "/keys/k", Value::Null)
            .await
            .status,
        404
    );
    assert_eq!(
        owner.arm("PUT", &path, put()).await.json["error"]["code"],
        "ConflictError"
    );
    let recovered = owner
        .arm("PUT", &path, vault_with(json!({ "createMode": "recover" })))
        .await;
    assert_eq!(recovered.status, 200, "{recovered:?}");
    assert_eq!(
        owner
            .vault("one-vault", "GET", "/keys/k", Value::Null)
            .await
            .status,
        200
    );

    owner.arm("DELETE", &path, Value::Null).await;
    assert_eq!(
        admin(&emulator, "/clock", Some(r#"{"advance":"7d"}"#))
            .await
            .status,
        200
    );
    assert_eq!(
        owner.arm("PUT", &path, put()).await.status,
        201,
        "its name is free again"
    );
    assert_eq!(
        owner
            .vault("one-vault", "GET", "/keys/k", Value::Null)
            .await
            .status,
        404,
        "its keys are gone"
    );
}

#[tokio::test]
async fn listed_vault_can_be_read_and_updated_in_its_resource_group() {
    let emulator = started().await;
    let owner = owner(&emulator);
    let listed = owner
        .arm("GET", "providers/Microsoft.KeyVault/vaults", Value::Null)
        .await
        .json;
    let id = listed["value"][0]["id"].as_str().unwrap();
    let path = id
        .split_once(&format!("/subscriptions/{AZURE_TENANT}/"))
        .unwrap()
        .1
        .to_owned();
    let group = owner.arm("GET", "resourceGroups/kmslab", Value::Null).await;
    assert_eq!(
        (group.status, &group.json["name"]),
        (200, &json!("kmslab")),
        "{}",
        group.text
    );
    let read = owner.arm("GET", &path, Value::Null).await;
    assert_eq!(read.status, 200, "{}", read.text);

    let patched = owner
        .arm("PATCH", &path, json!({ "tags": { "a": "b" } }))
        .await;
    assert_eq!(
        (patched.status, &patched.json["tags"]),
        (200, &json!({ "a": "b" })),
        "{}",
        patched.text
    );
    assert_eq!(
        patched.json["properties"], read.json["properties"],
        "what a PATCH leaves out stays"
    );
    let days = json!({ "properties": { "softDeleteRetentionInDays": 7 } });
    let patched = owner.arm("PATCH", &path, days).await.json;
    assert_eq!(patched["properties"]["softDeleteRetentionInDays"], 7);
    assert_eq!(
        patched["properties"]["accessPolicies"],
        read.json["properties"]["accessPolicies"]
    );
    assert_eq!(patched["tags"], json!({ "a": "b" }));
    for body in [
        json!([]),
        json!("x"),
        json!({ "properties": [] }),
        json!({ "properties": { "accessPolicies": 1 } }),
    ] {
        assert_eq!(
            owner.arm("PATCH", &path, body.clone()).await.status,
            400,
            "{body}"
        );
    }
    let put = owner.arm("PUT", &path, vault_with(json!({}))).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(
        owner
            .arm(
                "PATCH",
                "resourceGroups/kmslab/providers/Microsoft.KeyVault/vaults/none",
                json!({})
            )
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn new_vaults_use_roles_from_api_version_2026_02_01_on() {
    let emulator = started().await;
    let owner = owner(&emulator);
    owner
        .arm(
            "PUT",
            "resourceGroups/g",
            json!({ "location": "westeurope" }),
        )
        .await;
    let put = async |name: &str, version: &str, properties: Value| {
        let path = format!(
            "/subscriptions/{AZURE_TENANT}/resourceGroups/g/providers/Microsoft.KeyVault/vaults/{name}?api-version={version}"
        );
        let body = vault_with(properties);
        let answer = owner
            .ask(
                "management.azure.com",
                "https://management.core.windows.net/",
                "PUT",
                &path,
                &body,
            )
            .await;
        answer.json["properties"]["enableRbacAuthorization"].clone()
    };
    assert_eq!(put("before", "2025-05-01", json!({})).await, false);
    assert_eq!(put("since", "2026-02-01", json!({})).await, true);
    assert_eq!(put("preview", "2026-04-01-preview", json!({})).await, true);
    assert_eq!(
        put(
            "asked",
            "2026-02-01",
            json!({ "enableRbacAuthorization": false })
        )
        .await,
        false
    );
    // An existing vault keeps its setting.
    assert_eq!(put("before", "2026-02-01", json!({})).await, false);
    assert_eq!(put("since", "2025-05-01", json!({})).await, true);
}

#[tokio::test]
async fn requests_without_version_use_the_newest_and_release_is_rejected() {
    let emulator = started().await;
    let owner = owner(&emulator);
    let rsa = json!({ "kty": "RSA", "key_size": 2048, "public_exponent": 0 });
    let created = owner.vault("kmslab", "POST", "/keys/k/create", rsa).await;
    assert_eq!(
        (created.status, &created.json["key"]["e"]),
        (200, &json!("AQAB")),
        "{}",
        created.text
    );
    let input = json!({ "alg": "RSA-OAEP-256", "value": "AAAA" });
    let wrapped = owner
        .vault("kmslab", "POST", "/keys/k/wrapkey", input.clone())
        .await;
    assert_eq!(
        (wrapped.status, &wrapped.json["kid"]),
        (200, &created.json["key"]["kid"]),
        "{}",
        wrapped.text
    );
    owner
        .vault("kmslab", "POST", "/keys/k/rotate", Value::Null)
        .await;
    let newest = owner
        .vault("kmslab", "POST", "/keys/k/encrypt", input)
        .await;
    assert_ne!(newest.json["kid"], created.json["key"]["kid"]);
    let version = created.json["key"]["kid"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let released = owner
        .vault(
            "kmslab",
            "POST",
            &format!("/keys/k/{version}/release"),
            json!({ "target": "x" }),
        )
        .await;
    assert_eq!(
        (released.status, &released.json["error"]["code"]),
        (400, &json!("BadParameter")),
        "{}",
        released.text
    );
    assert!(
        released.text.contains("not exportable"),
        "{}",
        released.text
    );
    let wrong = json!({ "kty": "RSA", "public_exponent": 3 });
    assert_eq!(
        owner
            .vault("kmslab", "POST", "/keys/x/create", wrong)
            .await
            .status,
        400
    );
}
