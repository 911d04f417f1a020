//! Google's metadata server: the tree in all its forms, its tokens, and the URLs where client
//! libraries fetch certificates.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_emulator::Emulator;
use kmslab_emulator::KeyFile;
use serde_json::{Value, json};

use crate::gcp_iam::signed;
use crate::support::{Answer, send};

const EMAIL: &str = "kmslab@kmslab.iam.gserviceaccount.com";
const ROOT: &str = "/computeMetadata/v1";

async fn get_with(emulator: &Emulator, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = http::Request::get(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(emulator.http_addr(), &request.body(String::new()).unwrap()).await
}

async fn get(emulator: &Emulator, path: &str) -> Answer {
    get_with(
        emulator,
        "metadata.google.internal",
        &format!("{ROOT}{path}"),
        &[("metadata-flavor", "Google")],
    )
    .await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .head
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn metadata_directories_list_entries_and_redirect_to_a_trailing_slash() {
    let emulator = Emulator::builder().start().await.unwrap();
    for (path, listing) in [
        ("/", "instance/\nproject/\nuniverse/\n"),
        ("/project/", "attributes/\nnumeric-project-id\nproject-id\n"),
        ("/universe/", "universe-domain\n"),
        ("/instance/network-interfaces/", "0/\n"),
        ("/instance/attributes/", ""),
        (
            "/instance/service-accounts/",
            "default/\nkmslab@kmslab.iam.gserviceaccount.com/\n",
        ),
        (
            "/instance/service-accounts/default/",
            "aliases\nemail\nidentity\nscopes\ntoken\n",
        ),
    ] {
        let answer = get(&emulator, path).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, listing),
            "{path}"
        );
        assert_eq!(
            header(&answer, "content-type"),
            Some("application/text"),
            "{path}"
        );
    }
    let listing = get(&emulator, "/instance/").await.text;
    for entry in [
        "id\n",
        "zone\n",
        "name\n",
        "service-accounts/\n",
        "tags\n",
        "hostname\n",
    ] {
        assert!(listing.contains(entry), "{listing}");
    }
    let moved = get(&emulator, "/instance?recursive=true").await;
    assert_eq!(moved.status, 301);
    let to = "http://metadata.google.internal/computemetadata/v1/instance/?recursive=true";
    assert_eq!(header(&moved, "location"), Some(to));
    assert_eq!(header(&moved, "metadata-flavor"), Some("google"));
}

#[tokio::test]
async fn metadata_values_are_returned_as_text_or_json() {
    let emulator = Emulator::builder().start().await.unwrap();
    for (path, kind, body) in [
        ("/project/project-id", "application/text", "kmslab"),
        (
            "/project/project-id?alt=json",
            "application/json",
            "\"kmslab\"",
        ),
        (
            "/project/numeric-project-id",
            "application/text",
            "123456789012",
        ),
        (
            "/project/numeric-project-id?alt=json",
            "application/json",
            "123456789012",
        ),
        (
            "/universe/universe-domain",
            "application/text",
            "googleapis.com",
        ),
        (
            "/universe/universe_domain",
            "application/text",
            "googleapis.com",
        ),
        (
            "/instance/zone",
            "application/text",
            "projects/123456789012/zones/us-east1-b",
        ),
        ("/instance/tags", "application/json", "[]"),
        ("/instance/tags?alt=text", "application/text", ""),
        (
            "/instance/service-accounts/default/email",
            "application/text",
            EMAIL,
        ),
        (
            "/instance/service-accounts/default/aliases",
            "application/text",
            "default\n",
        ),
        (
            "/instance/network-interfaces/0/ip",
            "application/text",
            "10.142.0.2",
        ),
    ] {
        let answer = get(&emulator, path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, body), "{path}");
        assert_eq!(header(&answer, "content-type"), Some(kind), "{path}");
        assert_eq!(header(&answer, "etag").map(str::len), Some(16), "{path}");
    }
    for path in [
        "/instance/nothing",
        "/instance/id/",
        "/project/project-id/x",
        "/instance/network-interfaces/7/",
    ] {
        let known = path == "/instance/id/";
        assert_eq!(
            get(&emulator, path).await.status,
            if known { 200 } else { 404 },
            "{path}"
        );
    }
}

#[tokio::test]
async fn recursive_metadata_omits_tokens() {
    let emulator = Emulator::builder().start().await.unwrap();
    let account = json!({
        "aliases": ["default"], "email": EMAIL, "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    });
    let answer = get(
        &emulator,
        "/instance/service-accounts/default/?recursive=true",
    )
    .await;
    assert_eq!(
        (answer.json, header_kind(&answer.head)),
        (account.clone(), "application/json")
    );
    let accounts = get(&emulator, "/instance/service-accounts/?recursive=true")
        .await
        .json;
    assert_eq!(accounts, json!({ "default": account, EMAIL: account }));
    let all = get(&emulator, "/?recursive=true").await.json;
    assert_eq!(all["instance"]["serviceAccounts"]["default"], account);
    assert_eq!(
        all["instance"]["machineType"],
        "projects/123456789012/machineTypes/e2-medium"
    );
    assert_eq!(
        all["instance"]["networkInterfaces"][0]["dnsServers"][0],
        "169.254.169.254"
    );
    assert_eq!(
        all["project"],
        json!({ "attributes": {}, "numericProjectId": 123456789012u64, "projectId": "kmslab" })
    );
    assert_eq!(all["universe"]["universeDomain"], "googleapis.com");
    let text = get(
        &emulator,
        "/instance/service-accounts/?recursive=true&alt=text",
    )
    .await
    .text;
    assert!(
        text.starts_with("default/aliases default\ndefault/email kmslab@"),
        "{text}"
    );
    assert!(!text.contains("token") && !all.to_string().contains("ya29"));
}

fn header_kind(head: &str) -> &str {
    head.lines()
        .find_map(|line| line.strip_prefix("content-type: "))
        .unwrap()
}

#[tokio::test]
async fn metadata_is_denied_without_its_header_or_when_forwarded() {
    let emulator = Emulator::builder().start().await.unwrap();
    let path = format!("{ROOT}/instance/service-accounts/default/token");
    for headers in [
        &[][..],
        &[("metadata-flavor", "Amazon")],
        &[
            ("metadata-flavor", "Google"),
            ("x-forwarded-for", "192.0.2.7"),
        ],
        &[("metadata-flavor", "Google"), ("x-forwarded-for", "")],
    ] {
        let answer = get_with(&emulator, "metadata.google.internal", &path, headers).await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(!answer.text.contains("ya29"), "{headers:?}");
    }
    // Clients request this first, without the header.
    let root = get_with(&emulator, "metadata.google.internal", "/", &[]).await;
    assert_eq!(
        (root.status, root.text.as_str()),
        (200, "computeMetadata/\n")
    );
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap()
}

/// Verifies with the keys that Google's libraries fetch.
async fn verified(emulator: &Emulator, token: &str) -> Value {
    let keys = get_with(emulator, "www.googleapis.com", "/oauth2/v3/certs", &[])
        .await
        .json;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys).unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.validate_aud = false;
    validation.set_issuer(&["https://accounts.google.com"]);
    jsonwebtoken::decode::<Value>(token, &key, &validation)
        .unwrap()
        .claims
}

#[tokio::test]
async fn id_token_verifies_with_the_published_keys() {
    let emulator = Emulator::builder().start().await.unwrap();
    let path = "/instance/service-accounts/default/identity";
    let missing = get(&emulator, path).await;
    assert_eq!(
        (missing.status, missing.text.trim()),
        (400, "non-empty audience parameter required")
    );
    let token = get(&emulator, &format!("{path}?audience=https://example.com"))
        .await
        .text;
    let message = verified(&emulator, &token).await;
    assert_eq!(
        (
            &message["aud"],
            &message["email"],
            &message["email_verified"]
        ),
        (&json!("https://example.com"), &json!(EMAIL), &json!(true))
    );
    assert_eq!(message["sub"], message["azp"]);
    assert!(message.get("google").is_none());
    let full = get(&emulator, &format!("{path}?audience=a&format=full"))
        .await
        .text;
    assert_eq!(
        claims(&full)["google"]["compute_engine"]["instance_name"],
        "kmslab"
    );
}

#[tokio::test]
async fn certificates_and_keys_are_at_the_urls_that_libraries_use() {
    let emulator = Emulator::builder().start().await.unwrap();
    let file = emulator.gcp_owner();
    let key_file: Value = serde_json::from_str(&file.json("http://127.0.0.1/token")).unwrap();
    // The URL in the key file.
    let url: http::Uri = key_file["client_x509_cert_url"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let (host, email) = (url.host().unwrap(), EMAIL.replace('@', "%40"));
    for path in [
        url.path(),
        &format!("/service_accounts/v1/metadata/x509/{email}"),
    ] {
        let certificates = get_with(&emulator, host, path, &[]).await.json;
        let pem = certificates[&file.key_id]
            .as_str()
            .unwrap_or_else(|| panic!("{path}: {certificates}"));
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    }
    let keys = get_with(
        &emulator,
        host,
        &format!("/service_accounts/v1/jwk/{email}"),
        &[],
    )
    .await
    .json;
    assert_eq!(keys["keys"][0]["kid"], file.key_id);
    assert_eq!(
        get_with(&emulator, host, "/robot/v1/metadata/x509/nobody", &[])
            .await
            .status,
        404
    );
    let signers = get_with(&emulator, host, "/oauth2/v1/certs", &[])
        .await
        .json;
    assert!(
        signers
            .as_object()
            .unwrap()
            .values()
            .all(|pem| pem.as_str().unwrap().contains("BEGIN CERTIFICATE"))
    );
    let found = get_with(
        &emulator,
        "accounts.google.com",
        "/.well-known/openid-configuration",
        &[],
    )
    .await
    .json;
    assert_eq!(
        found["jwks_uri"],
        "https://www.googleapis.com/oauth2/v3/certs"
    );
}

#[tokio::test]
async fn every_token_uri_issues_tokens_and_tokeninfo_describes_them() {
    let emulator = Emulator::builder().start().await.unwrap();
    let file = emulator.gcp_owner();
    for (host, path) in [
        ("oauth2.googleapis.com", "/token"),
        ("www.googleapis.com", "/oauth2/v4/token"),
        ("www.googleapis.com", "/oauth2/v3/token"),
        ("accounts.google.com", "/o/oauth2/token"),
    ] {
        let url = format!("https://{host}{path}");
        let scope = json!({ "scope": "https://www.googleapis.com/auth/cloud-platform" });
        let answer = exchange(&emulator, host, path, &assertion(&file, &url, scope)).await;
        let token = answer.json["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{url}: {}", answer.text))
            .to_owned();
        let info = get_with(
            &emulator,
            "oauth2.googleapis.com",
            &format!("/tokeninfo?access_token={token}"),
            &[],
        )
        .await;
        assert_eq!(
            (info.status, &info.json["email"]),
            (200, &json!(EMAIL)),
            "{}",
            info.text
        );
        let expected = json!({ "target_audience": "https://example.com" });
        let answer = exchange(&emulator, host, path, &assertion(&file, &url, expected)).await;
        let message = verified(&emulator, answer.json["id_token"].as_str().unwrap()).await;
        assert_eq!(message["aud"], "https://example.com");
    }
    let unknown = get_with(
        &emulator,
        "www.googleapis.com",
        "/oauth2/v3/tokeninfo?access_token=x",
        &[],
    )
    .await;
    assert_eq!(
        (unknown.status, &unknown.json["error"]),
        (400, &json!("invalid_token"))
    );
}

/// The assertion that a service account signs to get a token.
fn assertion(file: &KeyFile, audience: &str, more: Value) -> String {
    let key: Value = serde_json::from_str(&file.json("http://127.0.0.1/token")).unwrap();
    let now = crate::support::now().as_second();
    let mut claims = json!({ "iss": file.email, "aud": audience, "iat": now, "exp": now + 600 });
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    signed(key["private_key"].as_str().unwrap(), &file.key_id, &claims)
}

async fn exchange(emulator: &Emulator, host: &str, path: &str, assertion: &str) -> Answer {
    let body =
        format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={assertion}");
    let request = http::Request::post(path).header("host", host);
    let request = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .unwrap();
    send(emulator.http_addr(), &request).await
}
