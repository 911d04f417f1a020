//! kind with the node image that is built if kindest/node cannot be pulled.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::Command;

use kmslab::assets::{Assets, NoProgress, Options, Tool};
use kmslab::cluster::kind::{Machine, config};
use kmslab::engine::Engine;

/// A cluster created by kind's own command, deleted on drop.
struct Kind {
    program: PathBuf,
    name: String,
    dir: tempfile::TempDir,
}

impl Kind {
    fn run(&self, args: &[&str]) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        let kubeconfig = self.dir.path().join("kubeconfig");
        let output = command
            .args(args)
            .args(["--name", &self.name, "--kubeconfig"])
            .arg(kubeconfig)
            .output()
            .unwrap();
        let message = || format!("kind {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(())
        } else {
            Err(message())
        }
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        let deleted = self.run(&["delete", "cluster"]);
        // If the test has failed, its failure matters more.
        assert!(deleted.is_ok() || std::thread::panicking(), "{deleted:?}");
    }
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test]
async fn plain_kind_cluster_on_own_image_becomes_ready() {
    let assets = Assets::from_env(&Options::default());
    let engine = Engine::find().await.unwrap();
    let image = assets.node_image(&engine, None, &NoProgress).await.unwrap();
    let tools = assets.find_installed(&[Tool::Kind, Tool::Kubectl]).unwrap();
    let path = |n: usize| {
        tools[n]
            .1
            .as_ref()
            .expect("tests/run has installed it")
            .path
            .clone()
    };
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::detect(&engine, &image).await.unwrap();
    let file = dir.path().join("cluster.yaml");
    std::fs::write(&file, config::plain(&machine).unwrap()).unwrap();
    let kind = Kind {
        program: path(0),
        name: format!("kmslab-test-{}", std::process::id()),
        dir,
    };
    kind.run(&[
        "create",
        "cluster",
        "--image",
        &image,
        "--wait",
        "180s",
        "--config",
        file.to_str().unwrap(),
    ])
    .unwrap();
    let nodes = Command::new(path(1))
        .args(["get", "nodes", "--no-headers", "--kubeconfig"])
        .arg(kind.dir.path().join("kubeconfig"))
        .output()
        .unwrap();
    let nodes = String::from_utf8(nodes.stdout).unwrap();
    assert!(
        nodes.contains(" Ready ") && nodes.contains(" v1.36."),
        "{nodes}"
    );
}
