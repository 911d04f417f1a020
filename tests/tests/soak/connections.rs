//! Connections that are opened and held.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::Emulator;

/// Maximum memory of the emulator per connection, in KiB.
const EACH: u64 = 40;

/// Holds connections, each within its first request, and sends other requests meanwhile.
async fn soak(count: usize, to_the_end: bool) {
    let may_open = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let needed = count as u64 + 200;
    assert!(
        may_open >= needed,
        "a process may open {may_open} files here: ulimit -n {needed}"
    );
    let emulator = Emulator::start(&[]).await;
    emulator.google_token().await;
    let before = emulator.program.memory();
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(emulator.http).await.unwrap();
        stream
            .write_all(b"POST /kmslab/keys/k/create HTTP/1.1\r\nhost: localhost\r\n")
            .await
            .unwrap();
        held.push(stream);
    }
    let most = emulator.program.memory();
    emulator.admin("GET", "/healthz").await;
    println!("{count} connections: {before} MiB, then {most} MiB");
    assert!(
        (most - before) * 1024 <= EACH * count as u64 + 16 * 1024,
        "{before} MiB became {most} MiB"
    );
    // An incomplete request times out.
    if !to_the_end {
        held.clear();
    }
    let ended = async {
        for stream in &mut held {
            let mut answer = Vec::new();
            // Closed with a response, without one, or reset.
            let _ = stream.read_to_end(&mut answer).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended)
        .await
        .expect("connections are held for ever");
    emulator.google_token().await;
    emulator.program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_use_little_memory() {
    soak(300, false).await;
}

#[ignore = "tier soak: takes minutes; just soak"]
#[tokio::test(flavor = "multi_thread")]
async fn open_connections_of_10_000_use_little_memory_and_close() {
    soak(10_000, true).await;
}
