//! Logins: responses and errors of the token endpoints and the instance metadata service.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_emulator::seed::{AzureSeed, SeedApplication, SeedFederated, SeedIssuer};
use kmslab_emulator::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT};
use kmslab_emulator::{Emulator, SeedFile};
use serde_json::{Value, json};

use crate::support::{free_port, now};

const APP: &str = "11111111-2222-4333-8444-555555555555";
const OBJECT: &str = "66666666-7777-4888-8999-aaaaaaaaaaaa";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ISSUER: &str = "https://kubernetes.default.svc";
const SUBJECT: &str = "system:serviceaccount:kube-system:kms-plugin";
const EXCHANGE: &str = "api://AzureADTokenExchange";

fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

async fn post(emulator: &Emulator, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let body: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let url = format!("http://{}{path}", emulator.http_addr());
    let request = client()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn by_secret<'a>(client: &'a str, secret: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", secret),
        ("scope", "https://vault.azure.net/.default"),
    ]
}

fn by_assertion<'a>(client: &'a str, assertion: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_assertion_type", ASSERTION),
        ("client_assertion", assertion),
        ("scope", "https://vault.azure.net/.default"),
    ]
}

fn v2() -> String {
    format!("/{AZURE_TENANT}/oauth2/v2.0/token")
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap()
}

fn jwt(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A cluster as issuer of service account tokens.
struct Cluster(EcdsaKeyPair);

impl Cluster {
    fn new() -> Self {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap())
    }

    fn jwks(&self) -> String {
        let point = self.0.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": x, "y": y }] })
            .to_string()
    }

    fn token(&self, change: impl Fn(&mut Value)) -> String {
        let now = now().as_second();
        let mut claims = json!({ "iss": ISSUER, "sub": SUBJECT, "aud": [EXCHANGE], "iat": now, "nbf": now, "exp": now + 600 });
        change(&mut claims);
        jwt(&json!({ "alg": "ES256", "kid": "one" }), &claims, |bytes| {
            self.0
                .sign(&SystemRandom::new(), bytes)
                .unwrap()
                .as_ref()
                .to_vec()
        })
    }
}

fn application() -> SeedApplication {
    SeedApplication {
        name: Some("plugin".into()),
        ..SeedApplication::new(APP, OBJECT)
    }
}

async fn with(application: SeedApplication, issuers: Vec<SeedIssuer>) -> Emulator {
    let azure = AzureSeed {
        applications: vec![application],
        issuers,
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

#[tokio::test]
async fn token_endpoints_return_the_members_that_clients_read() {
    let emulator = Emulator::builder().start().await.unwrap();
    let (status, answer) = post(
        &emulator,
        &v2(),
        &by_secret(AZURE_CLIENT_ID, AZURE_CLIENT_SECRET),
    )
    .await;
    assert_eq!(
        (status, &answer["token_type"], &answer["expires_in"]),
        (200, &"Bearer".into(), &86_399.into())
    );
    let message = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(message["aud"], "https://vault.azure.net");
    assert_eq!(
        message["iss"],
        format!("https://sts.windows.net/{AZURE_TENANT}/")
    );
    assert_eq!(
        (&message["appid"], &message["tid"], &message["ver"]),
        (&AZURE_CLIENT_ID.into(), &AZURE_TENANT.into(), &"1.0".into())
    );

    let v1 = format!("/{AZURE_TENANT}/oauth2/token");
    let mut form = by_secret(AZURE_CLIENT_ID, AZURE_CLIENT_SECRET);
    form.push(("resource", "https://vault.azure.net"));
    let (status, answer) = post(&emulator, &v1, &form).await;
    assert_eq!(
        (status, &answer["expires_in"], &answer["resource"]),
        (200, &"86399".into(), &"https://vault.azure.net".into())
    );
    assert!(
        answer["expires_on"]
            .as_str()
            .unwrap()
            .parse::<i64>()
            .unwrap()
            > now().as_second()
    );
}

#[tokio::test]
async fn failed_logins_return_aadsts_codes() {
    let emulator = Emulator::builder().start().await.unwrap();
    let good = || by_secret(AZURE_CLIENT_ID, AZURE_CLIENT_SECRET);
    let without = |name: &str| {
        good()
            .into_iter()
            .filter(|(key, _)| *key != name)
            .collect::<Vec<_>>()
    };
    let other_scope = |scope: &'static str| [without("scope"), vec![("scope", scope)]].concat();
    let elsewhere = "/99999999-0000-4000-8000-000000000000/oauth2/v2.0/token".to_owned();
    for (path, form, status, error, number) in [
        (
            v2(),
            by_secret(AZURE_CLIENT_ID, "wrong"),
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            v2(),
            by_secret(APP, "test"),
            400,
            "unauthorized_client",
            700_016,
        ),
        (
            v2(),
            without("client_secret"),
            401,
            "invalid_client",
            7_000_218,
        ),
        (v2(), without("scope"), 400, "invalid_request", 900_144),
        (v2(), without("grant_type"), 400, "invalid_request", 900_144),
        (
            v2(),
            other_scope("https://vault.azure.net"),
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            v2(),
            other_scope("https://example.com/.default"),
            400,
            "invalid_resource",
            500_011,
        ),
        (elsewhere, good(), 400, "invalid_request", 90_002),
        (
            v2(),
            by_assertion(AZURE_CLIENT_ID, "a.b.c"),
            401,
            "invalid_client",
            50_027,
        ),
    ] {
        let (got, answer) = post(&emulator, &path, &form).await;
        assert_eq!(
            (got, &answer["error"], &answer["error_codes"][0]),
            (status, &error.into(), &number.into()),
            "{answer}"
        );
        let description = answer["error_description"].as_str().unwrap();
        assert!(
            description.starts_with(&format!("AADSTS{number}: "))
                && description.contains(" Trace ID: "),
            "{answer}"
        );
        assert!(
            !description.contains("wrong") || number != 7_000_215,
            "{answer}"
        );
    }
}

#[tokio::test]
async fn federated_credential_must_match_issuer_subject_and_audience() {
    let cluster = Cluster::new();
    let federated = SeedFederated {
        issuer: ISSUER.into(),
        subject: SUBJECT.into(),
        audience: EXCHANGE.into(),
    };
    let plugin = SeedApplication {
        federated: vec![federated],
        ..application()
    };
    let emulator = with(
        plugin,
        vec![SeedIssuer {
            url: ISSUER.into(),
            jwks: cluster.jwks(),
        }],
    )
    .await;
    let (status, answer) = post(&emulator, &v2(), &by_assertion(APP, &cluster.token(|_| ()))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        claims(answer["access_token"].as_str().unwrap())["oid"],
        OBJECT
    );

    let now = now().as_second();
    for (assertion, number) in [
        (
            cluster.token(|claims| claims["sub"] = "system:serviceaccount:default:other".into()),
            700_213,
        ),
        (
            cluster.token(|claims| claims["aud"] = json!(["https://example.com"])),
            700_212,
        ),
        (
            cluster.token(|claims| claims["iss"] = "https://example.com".into()),
            700_211,
        ),
        (
            cluster.token(|claims| claims["exp"] = (now - 600).into()),
            700_024,
        ),
        (
            cluster.token(|claims| claims["nbf"] = (now + 600).into()),
            700_024,
        ),
        (Cluster::new().token(|_| ()), 700_027),
    ] {
        let (status, answer) = post(&emulator, &v2(), &by_assertion(APP, &assertion)).await;
        assert_eq!(
            (status, &answer["error_codes"][0]),
            (401, &number.into()),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn only_a_registered_certificate_authenticates_an_application() {
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
    let (ours, other) = (
        KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(),
        KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(),
    );
    let certificate = CertificateParams::new(Vec::new())
        .unwrap()
        .self_signed(&ours)
        .unwrap();
    let plugin = SeedApplication {
        certificate: Some(certificate.pem()),
        ..application()
    };
    let emulator = with(plugin, Vec::new()).await;
    let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    let header = json!({ "alg": "RS256", "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint) });
    let token = |key: &KeyPair, header: &Value, audience: &str| {
        let now = now().as_second();
        let claims = json!({ "iss": APP, "sub": APP, "aud": audience, "nbf": now, "exp": now + 600, "jti": "1" });
        let pair = RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap();
        jwt(header, &claims, |bytes| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                bytes,
                &mut signature,
            )
            .unwrap();
            signature
        })
    };
    let endpoint = format!("https://login.microsoftonline.com{}", v2());
    let (status, answer) = post(
        &emulator,
        &v2(),
        &by_assertion(APP, &token(&ours, &header, &endpoint)),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    for (assertion, number) in [
        (token(&other, &header, &endpoint), 700_027),
        (
            token(&ours, &json!({ "alg": "RS256", "x5t": "AAAA" }), &endpoint),
            700_027,
        ),
        (token(&ours, &header, "https://example.com/token"), 700_023),
    ] {
        let (status, answer) = post(&emulator, &v2(), &by_assertion(APP, &assertion)).await;
        assert_eq!(
            (status, &answer["error_codes"][0]),
            (401, &number.into()),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn instance_metadata_requires_its_header_and_a_known_identity() {
    let managed = SeedApplication {
        managed_identity: true,
        ..application()
    };
    let emulator = with(managed, Vec::new()).await;
    let get = |query: &str, metadata: bool| {
        let url = format!(
            "http://{}/metadata/identity/oauth2/token?{query}",
            emulator.http_addr()
        );
        let mut request = client().get(url);
        if metadata {
            request = request.header("Metadata", "true");
        }
        async move {
            let answer = request.send().await.unwrap();
            (
                answer.status().as_u16(),
                answer.json::<Value>().await.unwrap(),
            )
        }
    };
    let requested = "api-version=2018-02-01&resource=https://vault.azure.net";
    let (status, answer) = get(&format!("{requested}&client_id={APP}"), true).await;
    assert_eq!(
        (status, &answer["client_id"], &answer["expires_in"]),
        (200, &APP.into(), &"86399".into()),
        "{answer}"
    );
    assert_eq!(
        claims(answer["access_token"].as_str().unwrap())["oid"],
        OBJECT
    );
    for (query, metadata, message) in [
        (
            requested.to_owned(),
            false,
            "Required metadata header not specified",
        ),
        (
            "api-version=2018-02-01".to_owned(),
            true,
            "Required audience parameter not specified",
        ),
        (
            format!("{requested}&client_id=none"),
            true,
            "Identity not found",
        ),
    ] {
        let (status, answer) = get(&query, metadata).await;
        assert_eq!(
            (status, &answer["error_description"]),
            (400, &message.into()),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn discovery_documents_name_working_endpoints() {
    let emulator = Emulator::builder().start().await.unwrap();
    let get = |path: String| {
        let url = format!("http://{}{path}", emulator.http_addr());
        async move {
            client()
                .get(url)
                .send()
                .await
                .unwrap()
                .json::<Value>()
                .await
                .unwrap()
        }
    };
    let configuration = get(format!(
        "/{AZURE_TENANT}/v2.0/.well-known/openid-configuration"
    ))
    .await;
    let endpoint = configuration["token_endpoint"].as_str().unwrap();
    assert!(endpoint.ends_with(&v2()), "{configuration}");
    let instance = get("/common/discovery/instance?api-version=1.1".into()).await;
    assert!(
        instance["metadata"][0]["aliases"]
            .as_array()
            .unwrap()
            .contains(&"login.windows.net".into())
    );
    let keys = get("/common/discovery/keys".into()).await;
    assert_eq!(keys["keys"][0]["kty"], "RSA");
}
