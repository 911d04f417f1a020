//! Requests that a browser makes for another origin's page.

use kmslab_emulator::Emulator;

use crate::support::{Answer, raw, send};

/// For each port, a request that would be useful to a page.
const WANTED: [(bool, &str, &str); 8] = [
    (true, "POST", "/clock"),
    (true, "POST", "/reset"),
    (true, "GET", "/keys"),
    (true, "GET", "/metrics"),
    (
        false,
        "GET",
        "/computeMetadata/v1/instance/service-accounts/default/token",
    ),
    (
        false,
        "GET",
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net",
    ),
    (false, "POST", "/token"),
    (false, "POST", "/"),
];

#[tokio::test]
async fn requests_from_web_pages_are_rejected() {
    let emulator = Emulator::builder()
        .admin_listen(Some("127.0.0.1:0".parse().unwrap()))
        .allow_hosts(vec!["kms.example.com".to_owned()])
        .start()
        .await
        .unwrap();
    let clock = emulator.clock();
    let before = clock.now();
    let ask = async |admin: bool, method: &str, path: &str, headers: &[(&str, &str)]| -> Answer {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("metadata-flavor", "Google")
            .header("metadata", "true");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if path == "/clock" {
            r#"{"advance":"365d"}"#
        } else {
            ""
        };
        let address = if admin {
            emulator.admin_addr().unwrap()
        } else {
            emulator.http_addr()
        };
        send(address, &request.body(body.to_owned()).unwrap()).await
    };
    for (admin, method, path) in WANTED {
        // A name of the page's that resolves to 127.0.0.1; for the browser it is the same origin.
        let rebound = [
            ("host", "evil.example:7600"),
            ("origin", "http://evil.example:7600"),
            ("sec-fetch-site", "same-origin"),
        ];
        let answer = ask(admin, method, path, &rebound).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text);
        assert!(
            answer.text.contains("--allow-host evil.example"),
            "{}",
            answer.text
        );
        // A page of another origin that uses the address.
        for site in ["cross-site", "same-site"] {
            let across = [
                ("host", "127.0.0.1"),
                ("origin", "http://evil.example"),
                ("sec-fetch-site", site),
            ];
            let answer = ask(admin, method, path, &across).await;
            assert_eq!(answer.status, 403, "{path}: {}", answer.text);
        }
    }
    assert!(
        clock.now() < before + std::time::Duration::from_secs(3600),
        "the clock was moved"
    );
    // The control: programs are answered.
    for host in [
        "127.0.0.1",
        "localhost",
        "kms.example.com",
        "metadata.google.internal",
    ] {
        let token = ask(false, "GET", WANTED[4].2, &[("host", host)]).await;
        assert!(
            token.status == 200 && token.json["access_token"].is_string(),
            "{host}: {}",
            token.text
        );
    }
    assert_eq!(
        ask(
            true,
            "GET",
            "/keys",
            &[("host", "localhost"), ("sec-fetch-site", "none")]
        )
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn requests_with_two_hosts_are_rejected() {
    let emulator = Emulator::builder()
        .proxy_listen(Some("127.0.0.1:0".parse().unwrap()))
        .start()
        .await
        .unwrap();
    for host in [
        "host: 127.0.0.1\r\nhost: evil.example",
        "host: kms.us-east-1.amazonaws.com\r\nHost: localhost",
        "host: user@localhost",
        "host: localhost:http",
        "host: a b",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{host}\r\nconnection: close\r\n\r\n");
        let answer = raw(emulator.http_addr(), request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{host}: {}", answer.text);
    }
    for target in [
        "user@login.microsoftonline.com:443",
        "login.microsoftonline.com:443:443",
        "login.microsoftonline.com:80",
        "login.microsoftonline.com",
    ] {
        let request = format!(
            "CONNECT {target} HTTP/1.1\r\nhost: login.microsoftonline.com:443\r\nconnection: close\r\n\r\n"
        );
        let answer = raw(emulator.proxy_addr().unwrap(), request.as_bytes()).await;
        assert!(
            matches!(answer.status, 400 | 403),
            "{target}: {} {}",
            answer.status,
            answer.text
        );
    }
}
