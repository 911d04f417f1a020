//! Time and memory of `kmslab inspect` for a million encrypted values compared with etcdctl, live
//! and from a snapshot. `cargo bench -p kmslab`, optionally with another number of values. Needs
//! etcd and etcdctl, which `kmslab assets install` provides.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, measures, and may panic"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kmslab::assets::{Assets, Options, Tool};
use kmslab::etcd::Etcd as _;
use kmslab::etcd::client::EtcdClient;
use kmslab_kmsv2::stored::{self, EncryptedObject};

/// Size of a Secret of some hundred bytes, as API servers since 1.28 write it.
const VALUE_LEN: usize = 700;
const WRITERS: usize = 16;
const VALUES: usize = 1_000_000;

struct Etcd {
    child: Child,
    dir: tempfile::TempDir,
    url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tool(tool: Tool) -> PathBuf {
    let found = Assets::from_env(&Options::default())
        .find_installed(&[tool])
        .unwrap();
    let (tool, found) = &found[0];
    found
        .as_ref()
        .unwrap_or_else(|| panic!("no {}: `kmslab assets install` gets it", tool.file()))
        .path
        .clone()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn start() -> Etcd {
    let dir = tempfile::tempdir().unwrap();
    let (client, peer) = (free_port(), free_port());
    let url = format!("http://127.0.0.1:{client}");
    let child = Command::new(tool(Tool::Etcd))
        .args([
            "--data-dir".into(),
            dir.path().join("data").display().to_string(),
        ])
        .args([
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
        ])
        .args([
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--quota-backend-bytes=8589934592".into(),
        ])
        // Only reading is measured.
        .arg("--unsafe-no-fsync")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Etcd { child, dir, url }
}

fn value(number: usize) -> Vec<u8> {
    let object = EncryptedObject {
        encrypted_data: (0..VALUE_LEN)
            .map(|at| (number.wrapping_mul(31) ^ at.wrapping_mul(97)) as u8)
            .collect(),
        key_id: "k1-0a1b2c3d4e5f".into(),
        // A new seed for each start of the API server.
        encrypted_dek_source: vec![(number / 100_000) as u8; 184],
        encrypted_dek_source_type: 1,
        ..Default::default()
    };
    stored::encode("kmslab", &object).unwrap()
}

async fn fill(etcd: &Etcd, values: usize) {
    while EtcdClient::connect(&etcd.url).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let writers = (0..WRITERS).map(|writer| {
        let url = etcd.url.clone();
        tokio::spawn(async move {
            let client = EtcdClient::connect(&url).await.unwrap();
            for number in (writer..values).step_by(WRITERS) {
                let key = format!(
                    "/registry/secrets/team-{:03}/secret-{number:07}",
                    number % 500
                );
                client.put(&key, &value(number)).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// Seconds that a program takes, and its peak memory in MiB.
fn measure(command: &mut Command) -> (f64, u64) {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut most = 0;
    let code = loop {
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        most = most.max(peak_memory(&status));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(code.success(), "{command:?}: {code}");
    (started.elapsed().as_secs_f64(), most)
}

fn peak_memory(status: &Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or_default();
    kib / 1024
}

#[tokio::main]
async fn main() {
    // `cargo test --all-targets` runs benches as well, without this flag.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let values = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(VALUES);
    let etcd = start();
    println!("writing {values} values");
    fill(&etcd, values).await;
    let snapshot = etcd.dir.path().join("snapshot.db");
    EtcdClient::connect(&etcd.url)
        .await
        .unwrap()
        .snapshot_to(&snapshot)
        .await
        .unwrap();

    let kmslab = env!("CARGO_BIN_EXE_kmslab");
    let etcdctl = tool(Tool::Etcdctl);
    println!(
        "{:<44}{:>10}{:>10}{:>12}",
        "", "seconds", "MiB", "of etcdctl"
    );
    let mut plain = None;
    let mut print = |name: &str, command: &mut Command| {
        let (seconds, memory) = measure(command);
        let plain = *plain.get_or_insert(seconds);
        println!(
            "{name:<44}{seconds:>10.2}{memory:>10}{:>11.0}%",
            seconds / plain * 100.0
        );
    };
    let endpoints = ["--endpoints", &etcd.url];
    print(
        "etcdctl get --prefix",
        Command::new(&etcdctl).args(endpoints).args([
            "get",
            "--prefix",
            "/registry/",
            "--command-timeout=10m",
        ]),
    );
    for format in ["summary", "json", "table"] {
        let live = ["inspect", "--etcd", &etcd.url, "--format", format];
        print(
            &format!("kmslab inspect --etcd --format {format}"),
            Command::new(kmslab).args(live),
        );
    }
    for format in ["summary", "json"] {
        let file = [
            "inspect",
            "--snapshot",
            snapshot.to_str().unwrap(),
            "--format",
            format,
        ];
        print(
            &format!("kmslab inspect --snapshot --format {format}"),
            Command::new(kmslab).args(file).stderr(Stdio::null()),
        );
    }
}
