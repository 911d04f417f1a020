//! Requests that must fail: the vendor's code and message for each, always as JSON, and each one
//! counted.

use std::time::Duration;

use http::Request;

use crate::support::{Call, now, raw, send, started};

const INVALID_SIGNATURE: &str = "InvalidSignatureException";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                        Access Key and signing method. Consult the service documentation for details.";

#[tokio::test]
async fn unknown_or_badly_signed_requests_are_rejected() {
    let emulator = started().await;
    let address = emulator.http_addr();
    let list = || Call::new("ListKeys", "{}");
    let token_invalid = "The security token included in the request is invalid.";
    let cases = [
        (
            Call {
                id: "AKIASTRANGER",
                ..list()
            },
            "UnrecognizedClientException",
            token_invalid,
        ),
        (
            Call {
                secret: "wrong",
                ..list()
            },
            INVALID_SIGNATURE,
            MISMATCH,
        ),
        (
            Call {
                service: "s3",
                ..list()
            },
            INVALID_SIGNATURE,
            "Credential should be scoped to correct service: 'kms'. ",
        ),
        (
            Call {
                region: "mars",
                ..list()
            },
            INVALID_SIGNATURE,
            "Credential should be scoped to a valid region, not 'mars'. ",
        ),
    ];
    for (call, code, message) in cases {
        let answer = call.send(address).await;
        assert_eq!(
            (answer.status, answer.code(), answer.message()),
            (400, code, message)
        );
        assert!(
            answer
                .head
                .contains("content-type: application/x-amz-json-1.1"),
            "{}",
            answer.head
        );
        assert!(
            answer.head.contains("x-amzn-requestid: "),
            "{}",
            answer.head
        );
    }
    assert_eq!(
        emulator.requests().outcome("ListKeys", INVALID_SIGNATURE),
        3
    );
    let rows = emulator.requests().rows;
    assert!(
        rows.iter()
            .any(|row| row.caller == "AKIASTRANGER" && row.code == "UnrecognizedClientException"),
        "{rows:?}"
    );
}

#[tokio::test]
async fn request_dates_off_by_more_than_five_minutes_are_rejected() {
    let emulator = started().await;
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let expired = Call {
        time: now() - minutes(6),
        ..Call::new("ListKeys", "{}")
    }
    .send(emulator.http_addr())
    .await;
    assert_eq!(expired.code(), INVALID_SIGNATURE);
    let words = expired.message();
    assert!(
        words.starts_with("Signature expired: ") && words.contains(" is now earlier than "),
        "{words}"
    );
    assert!(words.ends_with("Z - 5 min.)"), "{words}");
    let early = Call {
        time: now() + minutes(6),
        ..Call::new("ListKeys", "{}")
    }
    .send(emulator.http_addr())
    .await;
    let words = early.message();
    assert!(
        words.starts_with("Signature not yet current: ") && words.ends_with("Z + 5 min.)"),
        "{words}"
    );
    for time in [now() - minutes(4), now() + minutes(4)] {
        let answer = Call {
            time,
            ..Call::new("ListKeys", "{}")
        }
        .send(emulator.http_addr())
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

#[tokio::test]
async fn missing_or_malformed_authorization_is_rejected() {
    let emulator = started().await;
    let address = emulator.http_addr();
    let good = Call::new("ListKeys", "{}").signed(address);
    let with = |header: Option<&str>| {
        let mut request = good.clone();
        match header {
            Some(header) => drop(
                request
                    .headers_mut()
                    .insert("authorization", header.parse().unwrap()),
            ),
            None => drop(request.headers_mut().remove("authorization")),
        }
        request
    };
    let incomplete = "IncompleteSignatureException";
    let cases = [
        (
            None,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        (
            Some("Bearer abc"),
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        (
            Some("AWS4-HMAC-SHA256 Credential=a"),
            incomplete,
            "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. \
             Authorization=AWS4-HMAC-SHA256 Credential=a",
        ),
        (
            Some("AWS4-HMAC-SHA256 Credential=a/b/c/kms, SignedHeaders=host, Signature=d"),
            incomplete,
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/kms'",
        ),
        (
            Some("AWS4-HMAC-MD5 Credential=a/b/c/kms/e, SignedHeaders=host, Signature=d"),
            incomplete,
            "Unsupported AWS 'algorithm': 'AWS4-HMAC-MD5' (only AWS4-HMAC-SHA256 for now). ",
        ),
        (
            Some("AWS4-HMAC-SHA256 Credential=a/b/c/kms/e, SignedHeaders=x-amz-date, Signature=d"),
            INVALID_SIGNATURE,
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ),
    ];
    for (header, code, message) in cases {
        let answer = send(address, &with(header)).await;
        assert_eq!(
            (answer.status, answer.code(), answer.message()),
            (400, code, message),
            "{header:?}"
        );
    }
    let mut undated = good.clone();
    undated.headers_mut().remove("x-amz-date");
    let answer = send(address, &undated).await;
    assert_eq!(answer.code(), incomplete);
    assert!(
        answer
            .message()
            .starts_with("Authorization header requires existence of either a 'X-Amz-Date'"),
        "{}",
        answer.text
    );
    let mut misdated = good.clone();
    misdated
        .headers_mut()
        .insert("x-amz-date", "201".parse().unwrap());
    let words = "Date must be in ISO-8601 'basic format'. Got '201'. See http://en.wikipedia.org/wiki/ISO_8601";
    assert_eq!(send(address, &misdated).await.message(), words);
}

#[tokio::test]
async fn requests_outside_the_api_get_a_json_error() {
    let emulator = started().await;
    let address = emulator.http_addr();
    let unknown = "UnknownOperationException";
    let build = |method: &str, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "x")
    };
    let text = |request: http::request::Builder| request.body("{}".to_owned()).unwrap();
    for (request, status) in [
        (build("GET", "/"), 404),
        (build("PUT", "/"), 404),
        (build("OPTIONS", "/keys"), 404),
        (build("POST", "/keys/k/wrapkey"), 404),
        (build("POST", "/"), 400),
        (
            build("POST", "/").header("x-amz-target", "DynamoDB_20120810.ListTables"),
            400,
        ),
        (
            build("POST", "/").header("x-amz-target", "TrentService.NoSuchOperation"),
            400,
        ),
        (
            build("POST", "/").header("x-amz-target", b"\xff\xfe".as_slice()),
            400,
        ),
    ] {
        let answer = send(address, &text(request)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, unknown),
            "{}",
            answer.text
        );
    }
    assert_eq!(emulator.requests().outcome("unknown", unknown), 8);
}

#[tokio::test]
async fn oversized_and_truncated_bodies_are_rejected() {
    let emulator = started().await;
    let address = emulator.http_addr();
    let answer = Call::new("Encrypt", "x".repeat(1024 * 1024 + 1))
        .send(address)
        .await;
    // The socket may be reset while the rest of the body is sent; the count shows that it was
    // rejected.
    assert!(
        answer.status == 413 || answer.status == 0,
        "{}",
        answer.text
    );
    assert_eq!(
        emulator
            .requests()
            .outcome("Encrypt", "RequestEntityTooLargeException"),
        1
    );
    let answer = raw(
        address,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\nconnection: close\r\n\r\n{}",
    )
    .await;
    assert_eq!(answer.status, 400);
    assert!(!answer.text.contains("<html"), "{}", answer.text);
    let answer = raw(address, b"\x16\x03\x01\x02\x00\x01\x00 this is TLS\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    // It still serves requests.
    assert_eq!(Call::new("ListKeys", "{}").send(address).await.status, 200);
}
