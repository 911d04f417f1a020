//! Time from the start of `kmslab-emulator` until its addresses are printed, beside the time of
//! `--version`, and its resident memory while idle.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]
#![expect(clippy::print_stdout, reason = "a bench reports")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

const RUNS: usize = 25;
const EMULATOR: &str = env!("CARGO_BIN_EXE_kmslab-emulator");
const FLAGS: &[&str] = &[
    "--listen=127.0.0.1:0",
    "--tls-listen=127.0.0.1:0",
    "--proxy-listen=127.0.0.1:0",
    "--admin-listen=127.0.0.1:0",
    "--format=json",
];

fn main() {
    let (mut version, mut ready, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    // In turns, so that what else the machine does concerns both.
    for _ in 0..RUNS {
        let (took, mut child) = until_first_line(&["--version"]);
        version.push(took);
        child.wait().unwrap();
        let (took, mut child) = until_first_line(FLAGS);
        ready.push(took);
        memory.extend(resident_kib(&child));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (version, ready) = (median(version), median(ready));
    println!(
        "ready after {:.1} times `--version` ({ready:.1?} and {version:.1?}, medians of {RUNS})",
        ready.as_secs_f64() / version.as_secs_f64(),
    );
    if !memory.is_empty() {
        println!(
            "idle: {:.1} MiB resident",
            f64::from(median(memory)) / 1024.0
        );
    }
}

fn until_first_line(arguments: &[&str]) -> (Duration, Child) {
    let started = Instant::now();
    let mut child = Command::new(EMULATOR)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty(), "it printed nothing");
    (started.elapsed(), child)
}

/// Resident memory, where the system tells it.
fn resident_kib(child: &Child) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn median<T: Ord + Copy>(mut all: Vec<T>) -> T {
    all.sort_unstable();
    all[all.len() / 2]
}
