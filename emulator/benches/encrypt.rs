//! Throughput of Encrypt and Decrypt with verified signatures, compared in one run with a bare axum
//! handler that returns the same bytes.
//!
//! `cargo bench -p kmslab-emulator --bench encrypt [-- --quick]`. All requests are distinct and
//! signed by the vendor's signer before the measurement; client and servers share the machine, so
//! the limit of the load generator (a server that only counts bytes) is printed as well. Every
//! ciphertext is decrypted afterwards and compared.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kmslab_emulator::Emulator;
use kmslab_keycore::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 16;
/// On a slow machine, signing more requests takes longer than the five minutes that a signature is
/// valid.
const REQUESTS: usize = 50_000;
const QUICK_REQUESTS: usize = 10_000;
const ALIAS: &str = "alias/bench";
const FLIPPED: usize = 1_000;
const ROUNDS: usize = 5;
const CANNED_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: ";

struct Answer {
    status: u16,
    body: Vec<u8>,
}

struct Run {
    answers: Vec<Answer>,
    took: Duration,
}

impl Run {
    fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.took.as_secs_f64()
    }
}

/// A server and the requests that it is measured with.
struct Row<'a> {
    name: &'static str,
    address: SocketAddr,
    requests: &'a [Vec<u8>],
    /// Requests per second of each round.
    rates: Vec<f64>,
}

impl<'a> Row<'a> {
    fn new(name: &'static str, address: SocketAddr, requests: &'a [Vec<u8>]) -> Self {
        Self {
            name,
            address,
            requests,
            rates: Vec::new(),
        }
    }

    async fn measure(&mut self) {
        let run = drive(self.address, self.requests).await;
        assert!(
            run.answers.iter().all(|answer| answer.status == 200),
            "{}: every request succeeds",
            self.name
        );
        self.rates.push(run.rate());
    }
}

/// Sorts the values and returns the middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let quick = std::env::args().any(|flag| flag == "--quick");
    let count = if quick { QUICK_REQUESTS } else { REQUESTS };
    let emulator = Emulator::builder().start().await.unwrap();
    let address = emulator.http_addr();

    let key = create_key(address).await;
    let plaintexts: Vec<String> = (0..count)
        .map(|n| STANDARD.encode(format!("{n:032}")))
        .collect();
    // The same requests, by the alias that both have.
    let silent = Emulator::builder().audit_events(0).start().await.unwrap();
    let without_audit = silent.http_addr();
    create_key(without_audit).await;
    let encrypts = |key: &str| -> Vec<Vec<u8>> {
        plaintexts
            .iter()
            .map(|plaintext| {
                let body = json!({ "KeyId": key, "Plaintext": plaintext }).to_string();
                signed(address, "Encrypt", &body)
            })
            .collect()
    };
    let requests = encrypts(&key);
    assert_eq!(
        requests.iter().collect::<HashSet<_>>().len(),
        count,
        "requests are distinct"
    );

    // One unmeasured encryption warms up the emulator and provides the response of the bare
    // handlers.
    let canned = one(address, requests[0].clone()).await.body;
    let encrypted = drive(address, &requests).await;
    let blobs: Vec<String> = encrypted
        .answers
        .iter()
        .map(|answer| blob(answer, &key))
        .collect();
    assert_eq!(
        blobs.iter().collect::<HashSet<_>>().len(),
        count,
        "ciphertexts are distinct"
    );
    let decrypts: Vec<Vec<u8>> = blobs
        .iter()
        .map(|blob| {
            signed(
                address,
                "Decrypt",
                &json!({ "CiphertextBlob": blob }).to_string(),
            )
        })
        .collect();
    let decrypted = drive(address, &decrypts).await;
    for (answer, plaintext) in decrypted.answers.iter().zip(&plaintexts) {
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            answer["Plaintext"].as_str(),
            Some(plaintext.as_str()),
            "a ciphertext decrypts to what was encrypted"
        );
    }
    let by_alias = encrypts(ALIAS);
    let (counter, bare) = (
        byte_counter(canned.clone()).await,
        bare_axum(canned.clone()).await,
    );
    let mut rows = [
        Row::new("bare axum handler, same answer bytes", bare, &requests),
        Row::new("emulator: Encrypt, signature verified", address, &requests),
        Row::new("emulator: Encrypt by alias", address, &by_alias),
        Row::new(
            "emulator: Encrypt by alias, audit off",
            without_audit,
            &by_alias,
        ),
        Row::new(
            "emulator: Decrypt of each, signature verified",
            address,
            &decrypts,
        ),
        Row::new(
            "load generator's ceiling (counts bytes only)",
            counter,
            &requests,
        ),
    ];
    // Servers take turns, so that a change of the machine's speed meets all of them.
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.measure().await;
        }
    }

    let forged: Vec<Vec<u8>> = requests[..FLIPPED]
        .iter()
        .enumerate()
        .map(|(n, request)| flipped(request, n))
        .collect();
    let forged = drive(address, &forged).await;
    let accepted = forged
        .answers
        .iter()
        .filter(|answer| answer.status == 200)
        .count();

    println!(
        "{count} distinct requests on {CONNECTIONS} connections, signed before the clock started; medians of {ROUNDS} rounds"
    );
    println!(
        "{:<46}{:>12}{:>10}{:>17}",
        "server", "requests/s", "of bare", "range"
    );
    let bare = rows[0].rates.clone();
    for row in &rows {
        let mut ratios: Vec<f64> = row
            .rates
            .iter()
            .zip(&bare)
            .map(|(rate, bare)| 100.0 * rate / bare)
            .collect();
        let ratio = median(&mut ratios);
        println!(
            "{:<46}{:>12.0}{ratio:>9.0}%{:>10.0} to {:>3.0}%",
            row.name,
            median(&mut row.rates.clone()),
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
    println!(
        "{:<46}{:>12.0}; accepted: {accepted}",
        "emulator: one signature digit changed",
        forged.rate()
    );
    assert_eq!(accepted, 0, "no forged request is answered");
    assert_eq!(
        emulator
            .requests()
            .outcome("Encrypt", "InvalidSignatureException"),
        FLIPPED as u64
    );
}

/// Creates a key with the alias, and returns its ARN.
async fn create_key(address: SocketAddr) -> String {
    let created = one(address, signed(address, "CreateKey", "{}")).await;
    let created: Value = serde_json::from_slice(&created.body).unwrap();
    let key = created["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let alias = json!({ "AliasName": ALIAS, "TargetKeyId": key }).to_string();
    one(address, signed(address, "CreateAlias", &alias)).await;
    key
}

/// The ciphertext of a successful response.
fn blob(answer: &Answer, key: &str) -> String {
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (
            answer["KeyId"].as_str(),
            answer["EncryptionAlgorithm"].as_str()
        ),
        (Some(key), Some("SYMMETRIC_DEFAULT"))
    );
    answer["CiphertextBlob"].as_str().unwrap().to_owned()
}

/// A complete HTTP request, signed now.
fn signed(address: SocketAddr, operation: &str, body: &str) -> Vec<u8> {
    let (host, target) = (address.to_string(), format!("TrentService.{operation}"));
    let headers = [
        ("host", host.as_str()),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", &target),
    ];
    let identity = Credentials::new("test", "test", None, None, "bench").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("kms")
        .time(SystemTime::from(SystemClock.now()))
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let url = format!("http://{host}/");
    let signable = SignableRequest::new(
        "POST",
        url.as_str(),
        headers.into_iter(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let (instructions, _) = sign(signable.unwrap(), &params).unwrap().into_parts();
    let mut text = String::from("POST / HTTP/1.1\r\n");
    for (name, value) in headers.into_iter().chain(instructions.headers()) {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    text.into_bytes()
}

/// The same request with one hex digit of its signature changed, a different one for each `n`.
fn flipped(request: &[u8], n: usize) -> Vec<u8> {
    let mark = b"Signature=";
    let start = request
        .windows(mark.len())
        .position(|window| window == mark)
        .unwrap()
        + mark.len();
    let mut request = request.to_vec();
    let digit = &mut request[start + n % 64];
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    request
}

/// Sends all requests, an equal share on each connection, and returns the responses in their order.
async fn drive(address: SocketAddr, requests: &[Vec<u8>]) -> Run {
    let mut shares: Vec<Vec<(usize, Vec<u8>)>> = vec![Vec::new(); CONNECTIONS];
    for (n, request) in requests.iter().enumerate() {
        shares[n % CONNECTIONS].push((n, request.clone()));
    }
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        streams.push(stream);
    }
    let start = tokio::time::Instant::now();
    let mut workers = JoinSet::new();
    for (mut stream, share) in streams.into_iter().zip(shares) {
        workers.spawn(async move {
            let (mut answers, mut buffer) = (Vec::with_capacity(share.len()), Vec::new());
            for (n, request) in share {
                stream.write_all(&request).await.unwrap();
                answers.push((
                    n,
                    message(&mut stream, &mut buffer)
                        .await
                        .expect("an answer to each request"),
                ));
            }
            answers
        });
    }
    let answers = workers.join_all().await;
    let took = start.elapsed();
    let mut answers: Vec<(usize, Answer)> = answers.into_iter().flatten().collect();
    answers.sort_by_key(|(n, _)| *n);
    Run {
        answers: answers.into_iter().map(|(_, answer)| answer).collect(),
        took,
    }
}

async fn one(address: SocketAddr, request: Vec<u8>) -> Answer {
    drive(address, &[request]).await.answers.remove(0)
}

/// Reads the next HTTP message of a connection by its content length; `None` at the end.
async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Answer> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                let status = head
                    .split(' ')
                    .nth(1)
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(0);
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Some(Answer { status, body });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends `canned` for each message without parsing it.
async fn byte_counter(canned: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut answer = format!("{CANNED_HEAD}{}\r\n\r\n", canned.len()).into_bytes();
    answer.extend_from_slice(&canned);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while message(&mut stream, &mut buffer).await.is_some() {
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    address
}

/// The minimum of an axum handler: reads the body and returns `canned`.
async fn bare_axum(canned: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let canned = bytes::Bytes::from(canned);
    let handler = move |_body: bytes::Bytes| async move {
        ([("content-type", "application/x-amz-json-1.1")], canned)
    };
    let router = axum::Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}
