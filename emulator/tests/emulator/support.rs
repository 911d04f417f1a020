//! Test clients: the vendor's signer and SDK, and plain sockets.

use std::net::SocketAddr;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Config, Region};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use jiff::Timestamp;
use kmslab_emulator::Emulator;
use kmslab_keycore::{Clock, SystemClock};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const ACCOUNT: &str = "123456789012";

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

pub(crate) fn free_port() -> Option<SocketAddr> {
    Some(SocketAddr::from(([127, 0, 0, 1], 0)))
}

pub(crate) async fn started() -> Emulator {
    Emulator::builder()
        .admin_listen(free_port())
        .start()
        .await
        .unwrap()
}

/// A request and its signing parameters; change fields, then call [`Call::signed`].
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) token: Option<&'static str>,
    pub(crate) region: &'static str,
    pub(crate) service: &'static str,
    pub(crate) time: Timestamp,
    pub(crate) operation: &'static str,
    pub(crate) body: String,
}

impl Call {
    pub(crate) fn new(operation: &'static str, body: impl Into<String>) -> Self {
        let (id, secret, token) = ("test", "test", None);
        let (region, service) = ("us-east-1", "kms");
        Self {
            id,
            secret,
            token,
            region,
            service,
            time: now(),
            operation,
            body: body.into(),
        }
    }

    /// Signs with the vendor's signer for the host at `address`.
    pub(crate) fn signed(&self, address: SocketAddr) -> http::Request<String> {
        let target = format!("TrentService.{}", self.operation);
        let host = address.to_string();
        let headers = [
            ("host", host.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &target),
        ];
        let mut request = http::Request::post("/").body(self.body.clone()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let identity = Credentials::new(
            self.id,
            self.secret,
            self.token.map(str::to_owned),
            None,
            "test",
        )
        .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::from(self.time))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let url = format!("http://{host}/");
        let body = SignableBody::Bytes(self.body.as_bytes());
        let signable =
            SignableRequest::new("POST", url.as_str(), headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        request
    }

    pub(crate) async fn send(&self, address: SocketAddr) -> Answer {
        send(address, &self.signed(address)).await
    }
}

/// An HTTP response with its body as JSON (`null` if it is not JSON).
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    /// The vendor's error code.
    pub(crate) fn code(&self) -> &str {
        self.json["__type"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }
}

pub(crate) async fn send(address: SocketAddr, request: &http::Request<String>) -> Answer {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if !request.headers().contains_key("content-length") {
        bytes.extend_from_slice(format!("content-length: {}\r\n", request.body().len()).as_bytes());
    }
    bytes.extend_from_slice(b"connection: close\r\n\r\n");
    bytes.extend_from_slice(request.body().as_bytes());
    raw(address, &bytes).await
}

/// Sends a request with a bearer token to one of the emulator's hosts; without a body if that is
/// `null`.
pub(crate) async fn ask(
    address: SocketAddr,
    host: &str,
    token: Option<&str>,
    (method, path): (&str, &str),
    body: &Value,
) -> Answer {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    send(address, &request.body(body).unwrap()).await
}

/// Sends raw bytes; the request must ask for the connection to be closed.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that rejects early may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_default();
    let json = serde_json::from_str(text).unwrap_or_default();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        text: text.to_owned(),
        json,
    }
}

/// GET of the admin port, or POST if there is a body.
pub(crate) async fn admin(emulator: &Emulator, path: &str, body: Option<&str>) -> Answer {
    let address = emulator.admin_addr().unwrap();
    let method = if body.is_some() { "POST" } else { "GET" };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string());
    send(
        address,
        &request.body(body.unwrap_or_default().to_owned()).unwrap(),
    )
    .await
}

pub(crate) fn sdk(emulator: &Emulator) -> Client {
    sdk_as(emulator, "test", "test", "us-east-1")
}

pub(crate) fn sdk_as(emulator: &Emulator, id: &str, secret: &str, region: &str) -> Client {
    Client::from_conf(
        config(id, secret, region)
            .endpoint_url(format!("http://{}", emulator.http_addr()))
            .build(),
    )
}

pub(crate) fn sdk_over_tls(emulator: &Emulator, ca_pem: &str) -> Client {
    let trust = TrustStore::empty().with_pem_certificate(ca_pem.as_bytes());
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .unwrap();
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https();
    let url = format!(
        "https://localhost:{}",
        emulator.https_addr().unwrap().port()
    );
    Client::from_conf(
        config("test", "test", "us-east-1")
            .endpoint_url(url)
            .http_client(http)
            .build(),
    )
}

fn config(id: &str, secret: &str, region: &str) -> aws_sdk_kms::config::Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
}
