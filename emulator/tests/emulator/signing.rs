//! Who gets in: the vendor's signer does, and nothing that differs from what it signed in one bit.

use std::net::SocketAddr;

use http::HeaderValue;
use http::request::Parts;
use kmslab_emulator::Auth;
use kmslab_emulator::aws::auth::{Authenticator, Credential, Credentials};
use kmslab_emulator::aws::sigv4::{self, Authorization};
use proptest::prelude::*;

use crate::support::{ACCOUNT, Call, now};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 7600);
/// Whatever of the request decides who calls, and what for.
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
fn the_vendors_signer_gets_in_twice() {
    let authenticator = authenticator();
    // The second time the signing key comes from memory.
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
fn a_session_token_must_come_and_be_the_one() {
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
fn a_secret_kept_in_memory_does_not_stand_in_for_another_scope() {
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
fn an_unsigned_target_is_refused() {
    let (mut parts, body) = signed(&Call::new("Encrypt", "{}"));
    let header = parts.headers["authorization"].to_str().unwrap().to_owned();
    // What a signer that leaves the target out would send.
    let header = header.replace(";x-amz-target", "");
    let authorization = Authorization::parse(&header).unwrap();
    let covered = sigv4::Signed {
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
fn without_checks_the_scope_still_says_who_and_where() {
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
    fn one_flipped_bit_never_authenticates(field in 0..=COVERED.len(), position in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (mut parts, body) = signed(&temporary(Some("token+/=")));
        let mut body = body.into_bytes();
        match COVERED.get(field) {
            Some(&name) => {
                let mut value = parts.headers[name].as_bytes().to_vec();
                let at = position.index(value.len());
                value[at] ^= 1 << bit;
                // What HTTP itself refuses never gets here.
                let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
                parts.headers.insert(name, value);
            }
            None => { let at = position.index(body.len()); body[at] ^= 1 << bit; }
        }
        prop_assert!(authenticator().authenticate(&parts, &body, now()).is_err());
    }

    #[test]
    fn no_header_panics(header in "(AWS4-HMAC-SHA256 )?(\\PC{0,80}|(Credential|SignedHeaders|Signature|=|,|/|;| |a|%){0,24})", date in "\\PC{0,20}|[0-9TZ]{14,18}", query in "[a-z%&=0-9]{0,20}") {
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
        let signed = sigv4::Signed { method: "POST", path: &date, query: &query, headers: &parts.headers, body: b"" };
        let _ = sigv4::canonical_request(signed, &names);
    }

    #[test]
    fn a_time_reads_back_as_it_was_written(seconds in 0i64..4_102_444_800) {
        let time = jiff::Timestamp::from_second(seconds).unwrap();
        prop_assert_eq!(sigv4::parse_time(&sigv4::format_time(time)), Some(time));
    }
}
