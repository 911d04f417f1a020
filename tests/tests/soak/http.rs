//! Malicious HTTP requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::Emulator;
use crate::requests::{Request, mutate, request};

const CLIENTS: usize = 8;
/// Maximum growth in MiB from a tenth of the requests to the end: allocators keep some memory.
const GROWTH: u64 = 48;

/// Sends requests, a tenth of them with changes that make them invalid HTTP.
async fn send(emulator: &Arc<Emulator>, count: usize, seed: u64) {
    let left = Arc::new(AtomicUsize::new(count));
    let clients = (0..CLIENTS as u64).map(|number| {
        let (emulator, left) = (Arc::clone(emulator), Arc::clone(&left));
        tokio::spawn(async move {
            let mut random = Rng::with_seed(seed + number);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                let request = request(&mut random);
                let status = if random.u8(0..10) == 0 {
                    by_bytes(&emulator, &request, &mut random).await
                } else {
                    by_client(&emulator, &request).await
                };
                assert!(status < 500, "{status} for {request:?}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

async fn by_client(emulator: &Emulator, request: &Request) -> u16 {
    let url = format!("http://{}{}", emulator.http, request.path);
    let mut sending = emulator
        .client
        .request(request.method.parse().unwrap(), url);
    for (name, value) in &request.headers {
        sending = sending.header(*name, value);
    }
    // A too long header closes the connection, perhaps before everything is sent.
    match sending.body(request.body.clone()).send().await {
        Ok(answer) => answer.status().as_u16(),
        Err(error) => {
            assert!(!error.is_connect(), "{error:?}");
            0
        }
    }
}

async fn by_bytes(emulator: &Emulator, request: &Request, random: &mut Rng) -> u16 {
    let mut bytes = format!(
        "{} {} HTTP/1.1\r\nconnection: close\r\n",
        request.method, request.path
    )
    .into_bytes();
    for (name, value) in &request.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", request.body.len()).as_bytes());
    bytes.extend_from_slice(&request.body);
    mutate(random, &mut bytes);
    let mut stream = TcpStream::connect(emulator.http).await.unwrap();
    // It may be rejected before everything is written.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let status = answer
        .split(|byte| *byte == b' ')
        .nth(1)
        .and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    // Invalid HTTP may get no response.
    status.unwrap_or_default()
}

async fn soak(count: usize, auth: &str) {
    let emulator = Arc::new(Emulator::start(&["--auth", auth]).await);
    // With auth off keys are created, which a reset removes; with auth on there is nothing to
    // remove.
    let memory = async || {
        if auth == "off" {
            emulator.admin("POST", "/reset").await;
        }
        emulator.program.memory()
    };
    send(&emulator, count / 10, 1).await;
    let before = memory().await;
    send(&emulator, count - count / 10, 1000).await;
    let metrics = emulator.admin("GET", "/metrics").await;
    assert!(
        metrics.len() < 3_000_000,
        "/metrics has {} bytes",
        metrics.len()
    );
    let longest = metrics.lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 1_000, "/metrics has a line of {longest} bytes");
    let after = memory().await;
    assert!(after <= before + GROWTH, "{before} MiB became {after} MiB");
    println!(
        "{count} requests, --auth {auth}: {before} MiB, then {after} MiB; {} bytes of metrics",
        metrics.len()
    );
    Arc::into_inner(emulator).unwrap().program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_http_requests_never_cause_an_error_or_growth() {
    soak(3_000, "on").await;
    soak(3_000, "off").await;
}

#[ignore = "tier soak: takes minutes; just soak"]
#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_http_requests_of_400_000_never_cause_an_error_or_growth() {
    soak(200_000, "on").await;
    soak(200_000, "off").await;
}
