//! The admin port.

use std::time::Duration;

use kmslab_emulator_api::{AdminClient, AdminError};
use serde_json::json;

use crate::support::{Call, admin, sdk, send, started};

#[tokio::test]
async fn lab_clock_only_moves_forward_and_wall_clock_never_moves() {
    let emulator = started().await;
    let before = admin(&emulator, "/clock", None).await;
    let moved = admin(
        &emulator,
        "/clock",
        Some(r#"{"set":"2099-01-01T00:00:00Z"}"#),
    )
    .await;
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert!(
        moved.json["lab"]
            .as_str()
            .unwrap()
            .starts_with("2099-01-01T00:00:0"),
        "{}",
        moved.text
    );
    assert_eq!(
        moved.json["wall"].as_str().unwrap()[..13],
        before.json["wall"].as_str().unwrap()[..13]
    );
    for bad in [
        r#"{"set":"2027-01-01T00:00:00Z"}"#,
        r#"{"advance":"-1d"}"#,
        r#"{"advance":"1 month"}"#,
        r#"{"advance":1e300}"#,
        r#"{"advance":"99999999999999d"}"#,
        r#"{"jump":1}"#,
        "",
        "[",
    ] {
        let answer = admin(&emulator, "/clock", Some(bad)).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
        assert!(
            answer.json["error"].as_str().unwrap().len() > 10,
            "{bad}: {}",
            answer.text
        );
    }
    let after = admin(&emulator, "/clock", None).await;
    assert!(
        after.json["lab"]
            .as_str()
            .unwrap()
            .starts_with("2099-01-01T00:0"),
        "{}",
        after.text
    );
}

#[tokio::test]
async fn health_and_errors_are_json() {
    let emulator = started().await;
    for path in ["/healthz", "/readyz"] {
        let answer = admin(&emulator, path, None).await;
        assert_eq!(
            (answer.status, &answer.json),
            (200, &json!({ "status": "ok" }))
        );
    }
    assert_eq!(admin(&emulator, "/nope", None).await.status, 404);
    let wrong = admin(&emulator, "/reset", None).await;
    assert_eq!(wrong.status, 405);
    assert!(
        wrong.json["error"]
            .as_str()
            .unwrap()
            .contains("/reset does not take GET"),
        "{}",
        wrong.text
    );
}

#[tokio::test]
async fn reset_clears_keys_and_metrics() {
    let emulator = started().await;
    let key = sdk(&emulator)
        .create_key()
        .send()
        .await
        .unwrap()
        .key_metadata
        .unwrap()
        .arn
        .unwrap();
    Call {
        secret: "wrong",
        ..Call::new("ListKeys", "{}")
    }
    .send(emulator.http_addr())
    .await;
    let keys = admin(&emulator, "/keys", None).await;
    assert_eq!(keys.json["keys"][0]["key"], json!(key), "{}", keys.text);
    let metrics = admin(&emulator, "/metrics", None).await.text;
    for line in [
        r#"kmslab_emulator_requests_total{cloud="aws",operation="CreateKey",caller="test",code="OK"} 1"#,
        r#"kmslab_emulator_requests_total{cloud="aws",operation="ListKeys",caller="test",code="InvalidSignatureException"} 1"#,
        "kmslab_emulator_keys 1",
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line} is not in\n{metrics}"
        );
    }
    assert_eq!(admin(&emulator, "/reset", Some("")).await.status, 200);
    assert_eq!(
        admin(&emulator, "/keys", None).await.json,
        json!({ "keys": [] })
    );
}

#[tokio::test]
async fn cross_origin_requests_cannot_move_the_clock() {
    let emulator = started().await;
    let address = emulator.admin_addr().unwrap();
    let request = |origin: String| {
        http::Request::post("/clock")
            .header("host", address.to_string())
            .header("origin", origin)
            .body(r#"{"advance":1}"#.to_owned())
            .unwrap()
    };
    assert_eq!(
        send(address, &request("https://example.com".to_owned()))
            .await
            .status,
        403
    );
    assert_eq!(
        send(address, &request(format!("http://{address}")))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn admin_client_reads_and_changes_a_running_emulator() {
    let emulator = started().await;
    let client = AdminClient::new(format!("http://{}", emulator.admin_addr().unwrap())).unwrap();
    client.health().await.unwrap();
    let created = Call::new("CreateKey", "{}")
        .send(emulator.http_addr())
        .await;
    let keys = client.keys().await.unwrap();
    assert_eq!(keys, emulator.keys().await);
    assert_eq!(
        keys.rows[0].key,
        created.json["KeyMetadata"]["Arn"].as_str().unwrap()
    );
    let body = json!({ "KeyId": keys.rows[0].key }).to_string();
    Call::new("EnableKeyRotation", body)
        .send(emulator.http_addr())
        .await;
    let requests = client.requests().await.unwrap();
    assert_eq!(requests, emulator.requests());
    assert_eq!(
        (requests.operation("CreateKey"), requests.caller("test")),
        (1, 2)
    );

    let before = client.clocks().await.unwrap();
    let year = Duration::from_secs(366 * 86_400);
    let moved = client.advance_clock(year).await.unwrap();
    assert!(moved.clocks.lab >= before.lab + year, "{moved:?}");
    assert_eq!((moved.rotated, moved.deleted, moved.note), (1, 0, None));

    client.reset().await.unwrap();
    assert!(client.keys().await.unwrap().rows.is_empty());
    assert_eq!(client.requests().await.unwrap().total, 0);

    let error = client.advance_clock(Duration::MAX).await.unwrap_err();
    assert!(
        matches!(&error, AdminError::Rejected { status: 400, message, .. } if message.contains("advance")),
        "{error}"
    );
    emulator.stop().await;
    let error = client.health().await.unwrap_err();
    assert!(matches!(error, AdminError::NoResponse { .. }), "{error}");
}
