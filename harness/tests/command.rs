//! The command: output and exit codes.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

#[tokio::test(flavor = "multi_thread")]
async fn faults_command_changes_a_running_emulator() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let builder = kmslab_emulator::Emulator::builder().admin_listen(Some(free));
    let emulator = builder.start().await.unwrap();
    let admin = format!("http://{}", emulator.admin_addr().unwrap());
    let faults = |args: &[&str]| {
        let args = [&["faults"], args, &["--emulator-admin", &admin]].concat();
        let output = kmslab(&args, dir.path());
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let add = [
        "add",
        "throttle=2s",
        "--cloud",
        "azure",
        "--operation",
        "KeyWrap",
        "--operation",
        "KeyUnwrap",
        "--share",
        "0.5",
        "--until",
        "90s",
    ];
    assert_eq!(
        faults(&add),
        (Some(0), "added throttle-1\n".to_owned(), String::new())
    );
    let file = dir.path().join("faults.yaml");
    std::fs::write(
        &file,
        "{seed: 7, faults: [{name: slow, effect: latency=1ms..2s}]}",
    )
    .unwrap();
    let (code, said, _) = faults(&["add", "--file", file.to_str().unwrap()]);
    assert_eq!((code, said.as_str()), (Some(0), "added slow\n"));

    let (_, listed, _) = faults(&["list"]);
    let added = "throttle=2s --operation KeyWrap --operation KeyUnwrap --cloud azure --share 0.5 --until 1m30s";
    assert!(
        listed.contains(added) && listed.contains("latency=1ms..2s"),
        "{listed}"
    );
    assert!(
        listed.ends_with("seed of random decisions: 7\n"),
        "{listed}"
    );
    let (_, listed, _) = faults(&["list", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["faults"][1]["fault"]["name"], "slow");

    for (args, code, part) in [
        (
            &["add", "slow"][..],
            2,
            "there is no 'slow'; there are latency",
        ),
        (&["add"], 2, "EFFECT"),
        (
            &["add", "error=NOPE"],
            2,
            "'NOPE' is not an error code of any cloud",
        ),
        (
            &["add", "hang", "--name", "slow"],
            2,
            "there is a fault slow already",
        ),
        (&["add", "hang", "--share", "2"], 2, "share: is not above 0"),
        (&["clear", "none"], 2, "there is no fault none"),
    ] {
        let (exit, _, said) = faults(args);
        assert_eq!(exit, Some(code), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    }
    assert_eq!(faults(&["clear", "slow"]).1, "removed slow\n");
    assert_eq!(faults(&["clear"]).1, "removed 1\n");
    assert_eq!(faults(&["list"]).1, "no faults\n");
    emulator.stop().await;
    let (code, _, said) = faults(&["list"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("--emulator-admin"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_command_lists_and_follows_the_events_of_an_emulator() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let builder = kmslab_emulator::Emulator::builder().admin_listen(Some(free));
    let emulator = builder.start().await.unwrap();
    let admin = format!("http://{}", emulator.admin_addr().unwrap());
    let metadata = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |path: &str| {
        let url = format!("{}{path}", emulator.endpoint_url());
        let request = metadata.get(url).header("metadata-flavor", "Google");
        request.send().await.unwrap().status()
    };
    assert_eq!(ask("/computeMetadata/v1/instance/id").await, 200);
    assert_eq!(ask("/computeMetadata/v1/nothing").await, 404);
    let audit = |args: &[&str]| {
        let args = [&["audit"], args, &["--emulator-admin", &admin]].concat();
        let output = kmslab(&args, dir.path());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let human = audit(&[]);
    let lines: Vec<&str> = human.lines().collect();
    assert_eq!(lines.len(), 2, "{human}");
    assert!(
        lines[0].ends_with(" gcp   Metadata OK kmslab@kmslab.iam.gserviceaccount.com"),
        "{human}"
    );
    let json = audit(&["--code", "404", "--format", "json"]);
    let event: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(event["sequence"], 2);
    assert_eq!(audit(&["--cloud", "aws"]), "");

    let mut child = Command::new(env!("CARGO_BIN_EXE_kmslab"))
        .args(["audit", "--follow", "--emulator-admin", &admin])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || tokio::task::block_in_place(|| lines.next().transpose().unwrap());
    assert!(line().unwrap().contains("Metadata OK"));
    assert!(line().unwrap().contains("Metadata 404"));
    assert_eq!(ask("/computeMetadata/v1/instance/zone").await, 200);
    assert!(line().unwrap().contains("Metadata OK"));
    emulator.stop().await;
    assert_eq!(line(), None);
    let output = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "the emulator has stopped\n");
}

#[test]
fn rewrite_finishes_while_the_cloud_throttles_hangs_and_resets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("faults.yaml");
    let faults = "\
seed: 7
faults:
- {name: throttle, effect: throttle, share: 0.5}
- {name: hang, effect: hang=2s, skip: 1, count: 1}
- {name: reset, effect: reset, skip: 2, count: 1}
";
    std::fs::write(&file, faults).unwrap();
    let run = |cloud: &str, file: &Path| {
        let args = [
            "run", "rewrite", "--cloud", cloud, "--format", "json", "--faults",
        ];
        kmslab(&[&args[..], &[file.to_str().unwrap()]].concat(), dir.path())
    };
    for cloud in ["aws", "azure", "gcp"] {
        let output = run(cloud, &file);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = &report["results"][0];
        assert_eq!(row["stale_after"], 0, "{cloud}");
        assert_eq!(row["faults"]["seed"], 7, "{cloud}");
        let hit = row["faults"]["faults"].as_array().unwrap();
        let names: Vec<_> = hit.iter().map(|status| &status["fault"]["name"]).collect();
        assert_eq!(names, ["throttle", "hang", "reset"], "{cloud}");
        assert!(
            hit.iter().all(|status| status["hits"].as_u64() > Some(0)),
            "{cloud}: {hit:?}"
        );
    }

    // A fault that hits nothing is not a test of anything.
    std::fs::write(
        &file,
        "faults: [{name: idle, effect: throttle, operations: [Sign]}]",
    )
    .unwrap();
    let output = run("aws", &file);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failure = &report["results"][0]["failure"];
    assert_eq!(failure["step"], "faults");
    let seen = failure["seen"].as_str().unwrap();
    assert!(
        seen.starts_with("idle (throttle --operation Sign"),
        "{seen}"
    );
    std::fs::write(&file, "faults: [{effect: slow}]").unwrap();
    let output = run("aws", &file);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("there is no 'slow'"));
    std::fs::write(&file, "faults: [{effect: hang, cloud: gcp}]").unwrap();
    let output = run("aws", &file);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let error = text(&output.stderr);
    assert!(
        error.contains("(hang --cloud gcp) is for gcp, which this run does not use"),
        "{error}"
    );
}
