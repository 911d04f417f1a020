//! The vendor's published SigV4 test suite: every case that applies to an AWS JSON service.

use http::{HeaderMap, HeaderName, HeaderValue};
use kmslab_emulator::internal::sigv4::{self, Authorization, SignedRequest, SigningKey};
use serde::Deserialize;

const SUITE: &str = include_str!("../../../fixtures/sigv4/aws-signing-test-suite-v4.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    /// False if the path is signed unnormalized, which only S3 does.
    normalize: bool,
    credentials: CaseCredentials,
    signed_request: String,
    canonical_request: String,
    string_to_sign: String,
    signature: String,
}

#[derive(Deserialize)]
struct CaseCredentials {
    secret_access_key: String,
}

#[test]
fn sigv4_matches_the_published_vectors() {
    let cases: Vec<Case> = serde_json::from_str(SUITE).unwrap();
    let (checked, skipped): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.normalize);
    assert_eq!((checked.len(), skipped.len()), (31, 7));
    for case in checked {
        check(&case);
    }
}

fn check(case: &Case) {
    let name = &case.name;
    let (head, body) = case.signed_request.split_once("\n\n").unwrap();
    let mut lines = unfolded(head).into_iter();
    let request_line = lines.next().unwrap();
    let (method, rest) = request_line.split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for line in lines {
        let (header, value) = line.split_once(':').unwrap();
        headers.append(
            HeaderName::from_bytes(header.as_bytes()).unwrap(),
            HeaderValue::from_str(value.trim()).unwrap(),
        );
    }
    let header = headers
        .get("authorization")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let authorization = Authorization::parse(&header).unwrap();
    let signed = SignedRequest {
        method,
        path,
        query,
        headers: &headers,
        body: body.as_bytes(),
    };
    let canonical = sigv4::canonical_request(signed, &authorization.signed_headers).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&canonical),
        case.canonical_request,
        "{name}: canonical request"
    );
    let time = headers.get("x-amz-date").unwrap().to_str().unwrap();
    let text = sigv4::string_to_sign(time, authorization.scope, &canonical);
    assert_eq!(text, case.string_to_sign, "{name}: string to sign");
    let key = SigningKey::derive(&case.credentials.secret_access_key, authorization.scope);
    assert_eq!(key.sign(&text), case.signature, "{name}: signature");
    assert_eq!(
        authorization.signature, case.signature,
        "{name}: signature in the header"
    );
}

/// Header lines with continuation lines joined, as an HTTP server sees them.
fn unfolded(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in head.lines() {
        match (line.strip_prefix(' '), lines.last_mut()) {
            (Some(rest), Some(last)) => *last = format!("{last} {rest}"),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}
