//! However a run ends, it leaves nothing: no process, socket, port or directory.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kmslab::platform::{StartTime, is_running};
use kmslab::runtime_dir::LabState;

/// A run that is paused during a rewrite, and the processes of its lab.
struct Paused {
    child: Child,
    dir: PathBuf,
    processes: BTreeMap<u32, StartTime>,
}

fn start(runtime: &Path) -> Paused {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kmslab"))
        .args([
            "run",
            "encrypt",
            "--cluster",
            "apiserver",
            "--pause-at",
            "stored",
            "--pause-file",
        ])
        .arg(runtime.join("go-on"))
        .env("XDG_RUNTIME_DIR", runtime)
        .env("XDG_STATE_HOME", runtime.join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.starts_with("paused before")),
        "it ended before its pause"
    );
    let labs: Vec<_> = std::fs::read_dir(runtime.join("kmslab"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let dir = labs.into_iter().find(|path| path.is_dir()).unwrap();
    let state = LabState::read(&dir).unwrap();
    let processes: BTreeMap<_, _> = state
        .processes
        .into_values()
        .map(|one| (one.pid, one.started))
        .collect();
    assert_eq!(processes.len(), 4, "emulator, plugin, etcd, kube-apiserver");
    Paused {
        child,
        dir,
        processes,
    }
}

fn gone(processes: &BTreeMap<u32, StartTime>) {
    for _ in 0..2000 {
        if !processes
            .iter()
            .any(|(pid, started)| is_running(*pid, started))
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("processes are left over");
}

fn runtime() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("k")
        .tempdir_in("/tmp")
        .unwrap()
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[test]
fn terminated_run_leaves_nothing() {
    for signal in ["-TERM", "-INT"] {
        let temp = runtime();
        let Paused {
            mut child,
            dir,
            processes,
        } = start(temp.path());
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(130));
        gone(&processes);
        assert!(!dir.exists(), "{} is left over", dir.display());
        assert_eq!(
            std::fs::read_dir(temp.path().join("kmslab"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[test]
fn killed_run_is_swept_by_the_next() {
    let temp = runtime();
    let Paused {
        mut child,
        dir,
        processes,
    } = start(temp.path());
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    gone(&processes);
    assert!(dir.exists());
    let next = Command::new(env!("CARGO_BIN_EXE_kmslab"))
        .args(["run", "encrypt"])
        .env("XDG_RUNTIME_DIR", temp.path())
        .env("XDG_STATE_HOME", temp.path().join("state"))
        .output()
        .unwrap();
    assert!(
        next.status.success(),
        "{}",
        String::from_utf8_lossy(&next.stderr)
    );
    assert!(!dir.exists(), "{} was not swept", dir.display());
}
