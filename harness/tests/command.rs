//! The command: output and exit codes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kmslab(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kmslab"))
        .args(args)
        .env("XDG_RUNTIME_DIR", dir)
        .env_remove("ETCDCTL_ENDPOINTS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn run_passes_and_reports_json() {
    let dir = tempfile::tempdir().unwrap();
    let run = kmslab(
        &[
            "run", "encrypt", "rotate", "rewrite", "--cloud", "aws", "--format", "json",
        ],
        dir.path(),
    );
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["passed"], true);
    let rows = report["results"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["scenario"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["encrypt", "rotate", "rewrite"]);
    for row in rows {
        for key in [
            "scenario",
            "cloud",
            "cluster",
            "kubernetes",
            "passed",
            "seconds",
            "objects",
            "others",
            "key_versions",
            "stale_before",
            "stale_after",
        ] {
            assert!(row.get(key).is_some(), "{key} is missing in {row}");
        }
        assert_eq!(
            (&row["cloud"], &row["cluster"]),
            (&"aws".into(), &"embedded".into())
        );
    }
    assert!(rows[2]["stale_before"].as_u64().unwrap() > 0);
    assert_eq!(
        (&rows[2]["stale_after"], &rows[0]["stale_after"]),
        (&0.into(), &Value::Null)
    );
    let left: Vec<_> = walk(dir.path());
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Every file and socket below `dir`.
fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path))
        } else {
            found.push(path)
        }
    }
    found
}

#[test]
fn run_table_shows_counts_versions_and_traffic() {
    let dir = tempfile::tempdir().unwrap();
    let run = kmslab(&["run", "rewrite"], dir.path());
    let out = text(&run.stdout);
    assert_eq!(run.status.code(), Some(0), "{out}{}", text(&run.stderr));
    assert!(out.contains("passed") && out.contains("18 → 0"), "{out}");
    assert!(
        out.contains("gRPC calls answered") && out.contains("SDK requests sent"),
        "{out}"
    );
}

#[test]
fn usage_errors_exit_with_2_and_list_the_choices() {
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (vec!["run", "no-such"], "there are encrypt, rotate, rewrite"),
        (
            vec!["run", "rotate", "--pause-at", "nowhere"],
            "there are write, rotate, notice",
        ),
        (
            vec!["run", "--cluster", "moon"],
            "possible values: embedded",
        ),
        (vec!["inspect"], "nothing to inspect"),
        (
            vec![
                "plugin",
                "aws",
                "--key",
                "not-an-arn:x",
                "--listen",
                "/tmp/x.sock",
            ],
            "not-an-arn",
        ),
        (
            vec![
                "plugin",
                "aws",
                "--key",
                "alias/a",
                "--region",
                "us-east-1",
                "--listen",
                &"/long".repeat(40),
            ],
            "bytes",
        ),
        (
            vec!["emulator", "--credential", "hunter2"],
            "ID:SECRET:ACCOUNT",
        ),
    ] {
        let run = kmslab(&args, dir.path());
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn missing_programs_exit_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let missing = dir.path().join("none/kms.sock").display().to_string();
    for (args, says) in [
        (
            vec![
                "emulator",
                "--listen",
                &address,
                "--no-tls",
                "--admin-listen",
                "127.0.0.1:0",
            ],
            "choose another with --listen",
        ),
        (
            vec![
                "plugin",
                "aws",
                "--key",
                "alias/a",
                "--region",
                "us-east-1",
                "--listen",
                &missing,
            ],
            "none",
        ),
    ] {
        let run = kmslab(&args, dir.path());
        let error = text(&run.stderr);
        assert_eq!(run.status.code(), Some(3), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn list_shows_what_run_runs() {
    let dir = tempfile::tempdir().unwrap();
    let human = text(&kmslab(&["list"], dir.path()).stdout);
    let json: Value =
        serde_json::from_slice(&kmslab(&["list", "--format", "json"], dir.path()).stdout).unwrap();
    for scenario in json["scenarios"].as_array().unwrap() {
        assert!(human.contains(scenario["name"].as_str().unwrap()));
        assert!(!scenario["steps"].as_array().unwrap().is_empty());
    }
}
