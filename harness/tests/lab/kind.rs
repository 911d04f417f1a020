//! A lab on a kind cluster, which leaves nothing however it ends.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::support::{Kmslab, text};

/// Output of the container engine.
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Containers, networks, volumes and images of the lab in `dir` and of its cluster.
fn in_the_engine(dir: &Path, cluster: &str) -> Vec<String> {
    let (ours, kinds) = (
        format!("label=dev.kmslab.lab={}", dir.display()),
        format!("label=io.x-k8s.kind.cluster={cluster}"),
    );
    let lists = [
        docker(&["ps", "--all", "--quiet", "--filter", &ours]),
        docker(&["ps", "--all", "--quiet", "--filter", &kinds]),
        docker(&["network", "ls", "--quiet", "--filter", &ours]),
        docker(&["image", "ls", "--quiet", "--filter", &ours]),
    ];
    lists
        .iter()
        .flat_map(|list| list.lines())
        .map(str::to_owned)
        .collect()
}

fn signal(pid: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[test]
fn kind_lab_is_usable_by_others_and_swept_after_a_kill() {
    let kmslab = Kmslab::new();
    let volumes = docker(&["volume", "ls", "--quiet"]);
    let lab = kmslab.up(&["ci", "--cluster", "kind"]);
    let (dir, nodes) = (lab.cluster.dir.clone(), lab.cluster.kind.clone().unwrap());
    assert_eq!(
        in_the_engine(&dir, &nodes.cluster).len(),
        4,
        "node, emulator, network, image"
    );

    let status: Value =
        serde_json::from_str(&kmslab.ok(&["status", "ci", "--format", "json"])).unwrap();
    assert_eq!(status["labs"][0]["healthy"], true, "{status}");
    assert_eq!(
        status["labs"][0]["parts"].as_array().unwrap().len(),
        4,
        "{status}"
    );

    // With the lab's variables, as a person would.
    let variables = kmslab.ok(&["status", "ci", "--variables"]);
    let program = env!("CARGO_BIN_EXE_kmslab");
    let script = format!(
        ". {}; set -e; kubectl create secret generic by-hand --from-literal=password=s3cret; \
         etcdctl get /registry/secrets/default/by-hand | head -c 70; {program} inspect --etcd $ETCDCTL_ENDPOINTS \
         --format summary; \
         docker exec $KMSLAB_NODE systemctl is-active kmslab-plugin",
        variables.trim()
    );
    let by_hand = Command::new("bash").args(["-c", &script]).output().unwrap();
    let message = format!(
        "{}{}",
        String::from_utf8_lossy(&by_hand.stdout),
        String::from_utf8_lossy(&by_hand.stderr)
    );
    assert!(
        by_hand.status.success() && message.contains("k8s:enc:kms:v2:kmslab:"),
        "{message}"
    );

    let report: Value =
        serde_json::from_str(&kmslab.ok(&["run", "encrypt", "--lab", "ci", "--format", "json"]))
            .unwrap();
    assert_eq!(
        (
            &report["results"][0]["passed"],
            &report["results"][0]["cluster"]
        ),
        (&true.into(), &"kind".into())
    );

    // A node that is stopped and started again.
    let node = &nodes.control_planes[0].container;
    docker(&["stop", node]);
    let run = kmslab.run(&["run", "encrypt", "--lab", "ci"]);
    let error = text(&run.stderr);
    assert_eq!(run.status.code(), Some(3), "{error}");
    assert!(
        error.contains(&format!("`docker start {node}` starts it")),
        "{error}"
    );
    let status = kmslab.run(&["status", "ci"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(
        text(&status.stdout).contains("exited"),
        "{}",
        text(&status.stdout)
    );
    docker(&["start", node]);
    kmslab.ok(&["run", "encrypt", "--lab", "ci"]);

    let state = kmslab::runtime_dir::LabState::read(&dir).unwrap();
    signal(state.owner.pid, "-9");
    kmslab.ok(&["down", "ci"]);
    assert_eq!(in_the_engine(&dir, &nodes.cluster), Vec::<String>::new());
    assert!(!dir.exists());
    assert_eq!(docker(&["volume", "ls", "--quiet"]), volumes);
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[test]
fn foreign_kind_network_is_named_and_kept() {
    let kmslab = Kmslab::new();
    let name = format!("taken-{}", std::process::id());
    let network = format!("kmslab-{name}");
    docker(&["network", "create", &network]);
    let up = kmslab.run(&["up", &name, "--cluster", "kind"]);
    let there = docker(&[
        "network",
        "ls",
        "--quiet",
        "--filter",
        &format!("name=^{network}$"),
    ]);
    docker(&["network", "rm", &network]);
    let error = text(&up.stderr);
    assert_eq!(up.status.code(), Some(3), "{error}");
    assert!(
        error.contains(&format!("`docker network rm {network}`")),
        "{error}"
    );
    assert!(
        !there.is_empty(),
        "a network that was not the lab's was removed"
    );
}

/// Starts `kmslab run --cluster kind` and waits until kind has created its node.
fn in_the_middle(kmslab: &Kmslab) -> (Child, std::path::PathBuf, String) {
    let run = kmslab
        .command(&["run", "encrypt", "--cluster", "kind"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let name = format!("run-{}", run.id());
    let (dir, cluster) = (kmslab.labs().join(&name), format!("kmslab-{name}"));
    let node = format!("label=io.x-k8s.kind.cluster={cluster}");
    for _ in 0..2400 {
        if !docker(&["ps", "--all", "--quiet", "--filter", &node]).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    (run, dir, cluster)
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[test]
fn interrupted_run_on_kind_leaves_nothing_and_a_killed_one_is_swept() {
    let kmslab = Kmslab::new();
    for (name, code) in [("-INT", Some(130)), ("-TERM", Some(130)), ("-KILL", None)] {
        let (run, dir, cluster) = in_the_middle(&kmslab);
        let before = in_the_engine(&dir, &cluster);
        signal(run.id(), name);
        let output = run.wait_with_output().unwrap();
        assert_eq!(
            output.status.code(),
            code,
            "{name}: {}",
            text(&output.stderr)
        );
        assert_eq!(
            before.len(),
            4,
            "node, emulator, network, image, but {before:?}: {}",
            text(&output.stderr)
        );
        if code.is_none() {
            assert!(
                !in_the_engine(&dir, &cluster).is_empty(),
                "nothing could be left by a SIGKILL: the test shows nothing"
            );
            kmslab.ok(&["down", "--all"]);
        }
        assert_eq!(
            in_the_engine(&dir, &cluster),
            Vec::<String>::new(),
            "{name}"
        );
        assert!(!dir.exists(), "{name}");
    }
}
