//! Signature verification: requests of the vendor's signer are accepted, and any that differ in one
//! bit are not.

use std::net::SocketAddr;

use http::HeaderValue;
use http::request::Parts;
use kmslab_emulator::Auth;
use kmslab_emulator::internal::sigv4::{self, Authorization};
use kmslab_emulator::internal::{Authenticator, Credential, Credentials};
use proptest::prelude::*;

use crate::support::{ACCOUNT, Call, now};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 7600);
/// The parts of a request that determine caller and operation.
const COVERED: [&str; 6] = [
    "authorization",
    "content-type",
    "host",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-target",
];

fn authenticator() -> Authenticator {
    let mut credentials = Credentials::well_known();
    let temporary = Credential {
        secret: "s3cr3t".to_owned().into(),
        account: "210987654321".to_owned(),
        session_token: Some("token+/=".to_owned().into()),
    };
    credentials.insert("ASIATEMPORARY", temporary).unwrap();
    Authenticator::new(Auth::On, credentials)
}

fn signed(call: &Call) -> (Parts, String) {
    call.signed(SocketAddr::from(ADDRESS)).into_parts()
}

fn temporary(token: Option<&'static str>) -> Call {
    Call {
        id: "ASIATEMPORARY",
        secret: "s3cr3t",
        token,
        ..Call::new("Encrypt", "{}")
    }
}

#[test]
fn requests_signed_by_the_vendors_signer_authenticate() {
    let authenticator = authenticator();
    // The second request uses the cached signing key.
    for body in ["{}", r#"{"KeyId":"alias/ü"}"#] {
        let (parts, body) = signed(&Call {
            region: "eu-central-1",
            ..Call::new("Encrypt", body)
        });
        let caller = authenticator
            .authenticate(&parts, body.as_bytes(), now())
            .unwrap();
        assert_eq!(
            (caller.account.as_str(), caller.region.as_str()),
            (ACCOUNT, "eu-central-1")
        );
        assert_eq!(caller.access_key_id, "test");
    }
}

#[test]
fn session_token_is_required_and_must_match() {
    let authenticator = authenticator();
    let outcome = |call: &Call| {
        let (parts, body) = signed(call);
        authenticator
            .authenticate(&parts, body.as_bytes(), now())
            .map(|caller| caller.account)
            .map_err(|e| e.kind)
    };
    assert_eq!(
        outcome(&temporary(Some("token+/="))).unwrap(),
        "210987654321"
    );
    for wrong in [
        temporary(None),
        temporary(Some("token")),
        Call {
            token: Some("x"),
            ..Call::new("Encrypt", "{}")
        },
    ] {
        assert_eq!(outcome(&wrong).unwrap_err(), "UnrecognizedClientException");
    }
}

#[test]
fn cached_signing_key_is_used_for_its_scope_only() {
    let authenticator = authenticator();
    let (parts, body) = signed(&Call::new("Encrypt", "{}"));
    authenticator
        .authenticate(&parts, body.as_bytes(), now())
        .unwrap();
    for wrong in [
        Call {
            secret: "other",
            ..Call::new("Encrypt", "{}")
        },
        Call {
            service: "s3",
            ..Call::new("Encrypt", "{}")
        },
    ] {
        let (parts, body) = signed(&wrong);
        let error = authenticator
            .authenticate(&parts, body.as_bytes(), now())
            .unwrap_err();
        assert_eq!(error.kind, "InvalidSignatureException");
    }
}

#[test]
fn unsigned_target_header_is_rejected() {
    let (mut parts, body) = signed(&Call::new("Encrypt", "{}"));
    let header = parts.headers["authorization"].to_str().unwrap().to_owned();
    // As from a signer that does not sign the target.
    let header = header.replace(";x-amz-target", "");
    let authorization = Authorization::parse(&header).unwrap();
    let covered = sigv4::SignedRequest {
        method: "POST",
        path: "/",
        query: "",
        headers: &parts.headers,
        body: body.as_bytes(),
    };
    let canonical = sigv4::canonical_request(covered, &authorization.signed_headers).unwrap();
    let time = parts.headers["x-amz-date"].to_str().unwrap();
    let text = sigv4::string_to_sign(time, authorization.scope, &canonical);
    let signature = sigv4::SigningKey::derive("test", authorization.scope).sign(&text);
    let header = header.replace(authorization.signature, &signature);
    parts
        .headers
        .insert("authorization", header.parse().unwrap());
    let error = authenticator()
        .authenticate(&parts, body.as_bytes(), now())
        .unwrap_err();
    assert_eq!(error.kind, "InvalidSignatureException");
}

#[test]
fn auth_off_takes_account_and_region_from_the_scope() {
    let mut credentials = Credentials::well_known();
    let other = Credential {
        secret: "x".to_owned().into(),
        account: "111122223333".to_owned(),
        session_token: None,
    };
    credentials.insert("other", other).unwrap();
    let open = Authenticator::new(Auth::Off, credentials);
    let (parts, _) = signed(&Call {
        id: "other",
        secret: "wrong",
        region: "eu-west-1",
        ..Call::new("Encrypt", "{}")
    });
    let caller = open.authenticate(&parts, b"", now()).unwrap();
    assert_eq!(
        (caller.account.as_str(), caller.region.as_str()),
        ("111122223333", "eu-west-1")
    );
    let (bare, ()) = http::Request::post("/").body(()).unwrap().into_parts();
    let caller = open.authenticate(&bare, b"", now()).unwrap();
    assert_eq!(
        (caller.account.as_str(), caller.region.as_str()),
        (ACCOUNT, "us-east-1")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn flipped_bit_never_authenticates(field in 0..=COVERED.len(), position in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (mut parts, body) = signed(&temporary(Some("token+/=")));
        let mut body = body.into_bytes();
        match COVERED.get(field) {
            Some(&name) => {
                let mut value = parts.headers[name].as_bytes().to_vec();
                let at = position.index(value.len());
                value[at] ^= 1 << bit;
                // HTTP itself rejects such values.
                let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
                parts.headers.insert(name, value);
            }
            None => { let at = position.index(body.len()); body[at] ^= 1 << bit; }
        }
        prop_assert!(authenticator().authenticate(&parts, &body, now()).is_err());
    }

    #[test]
    fn parsing_authorization_never_panics(header in "(AWS4-HMAC-SHA256 )?(\\PC{0,80}|(Credential|SignedHeaders|Signature|=|,|/|;| |a|%){0,24})", date in "\\PC{0,20}|[0-9TZ]{14,18}", query in "[a-z%&=0-9]{0,20}") {
        let _ = Authorization::parse(&header);
        let _ = sigv4::parse_time(&date);
        let uri = format!("/?{query}");
        let Ok(request) = http::Request::post(uri).header("host", "h").header("x-amz-date", date.as_bytes()).header("authorization", header.as_bytes()).body(()) else {
            return Ok(());
        };
        let (parts, ()) = request.into_parts();
        let outcome = authenticator().authenticate(&parts, b"{}", now());
        prop_assert!(outcome.is_err());
        let names: Vec<&str> = header.split(';').collect();
        let signed = sigv4::SignedRequest { method: "POST", path: &date, query: &query, headers: &parts.headers, body: b"" };
        let _ = sigv4::canonical_request(signed, &names);
    }

    #[test]
    fn signing_time_round_trips(seconds in 0i64..4_102_444_800) {
        let time = jiff::Timestamp::from_second(seconds).unwrap();
        prop_assert_eq!(sigv4::parse_time(&sigv4::format_time(time)), Some(time));
    }
}
