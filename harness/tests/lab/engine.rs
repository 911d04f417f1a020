//! A failing container engine is reported with a remedy, before anything is created.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kmslab::assets::node;

use super::support::{Kmslab, text};

/// A PATH with this script as `docker`, and a `podman` that does not respond.
fn docker(dir: &Path, script: &str) -> String {
    for (name, script) in [
        ("docker", script),
        ("podman", "echo 'cannot reach the socket' >&2; exit 125"),
    ] {
        let program = dir.join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

fn refused(script: &str, cache: &Path, args: &[&str]) -> String {
    let (kmslab, dir) = (Kmslab::new(), tempfile::tempdir().unwrap());
    let path = docker(dir.path(), script);
    let output = kmslab
        .command(args)
        .env("PATH", path)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert_eq!(
        std::fs::read_dir(kmslab.labs()).map_or(0, Iterator::count),
        0,
        "something is left over"
    );
    error
}

#[test]
fn failing_container_engine_is_reported_with_a_remedy() {
    let run = ["run", "--cluster", "kind"];
    for (message, remedy) in [
        (
            "permission denied while trying to connect to the Docker daemon socket",
            "add it to the group docker",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            "sudo systemctl start docker",
        ),
    ] {
        let error = refused(
            &format!("echo '{message}' >&2; exit 1"),
            Path::new("/nonexistent"),
            &run,
        );
        assert!(error.contains(message) && error.contains(remedy), "{error}");
    }
    let small = "case $1 in ps) ;; info) echo 805306368 ;; *) exit 1 ;; esac";
    let error = refused(small, Path::new("/nonexistent"), &run);
    assert!(
        error.contains("has 768 MiB of memory") && error.contains("--cluster apiserver"),
        "{error}"
    );
}

#[test]
fn invalid_saved_node_image_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let saved =
        kmslab::assets::Cache::at(cache.path().join("kmslab")).node_image(&node::tag(), "docker");
    std::fs::create_dir_all(saved.parent().unwrap()).unwrap();
    std::fs::write(&saved, "half of it").unwrap();
    let engine = "case $1 in ps) ;; load) cat >/dev/null; exit 1 ;; *) exit 1 ;; esac";
    let error = refused(engine, cache.path(), &["assets", "node"]);
    assert!(
        error.contains(&format!("`rm {}`", saved.display())),
        "{error}"
    );
}
