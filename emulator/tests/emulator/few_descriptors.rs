//! More connections than file descriptors.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::send;

/// The emulator as a process of its own with a low limit of open files.
#[tokio::test]
async fn admin_port_answers_when_file_descriptors_run_out() {
    let command = format!(
        "ulimit -n 128 && exec {} --listen=127.0.0.1:0 --no-tls --admin-listen=127.0.0.1:0 --format=json",
        env!("CARGO_BIN_EXE_kmslab-emulator")
    );
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = |name: &str| -> SocketAddr {
        let url = addresses[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {line}"));
        url.trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .unwrap()
    };
    let (http, admin) = (address("http"), address("admin"));
    let mut held = Vec::new();
    for _ in 0..300 {
        // Connections without a slot wait in the system's queue, which fills up at some point.
        match tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(http)).await {
            Ok(Ok(mut stream)) => {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
                held.push(stream);
            }
            _ => break,
        }
    }
    assert!(
        held.len() > 128,
        "only {} connections were held",
        held.len()
    );
    let request = http::Request::get("/healthz")
        .header("host", "localhost")
        .body(String::new())
        .unwrap();
    for _ in 0..5 {
        let answer = tokio::time::timeout(Duration::from_secs(20), send(admin, &request))
            .await
            .expect("no answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    // Closed connections free their slots.
    drop(held);
    let request = http::Request::get("/computeMetadata/v1/project/project-id");
    let request = request
        .header("host", "localhost")
        .header("metadata-flavor", "Google")
        .body(String::new())
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), send(http, &request))
        .await
        .expect("no answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    // On SIGTERM it leaves nothing in the temporary directory.
    let pid = child.id().unwrap().to_string();
    assert!(
        tokio::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
