//! The guide's steps as a person types them, with the vendors' unmodified command lines.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::Command;

use kmslab::assets::{Assets, Options, Tool};
use kmslab_e2e::{built, root};

/// The AWS CLI that `tests/run` has got; another one in PATH where a person runs this test alone.
fn aws() -> Option<PathBuf> {
    std::env::var_os("KMSLAB_AWS_CLI").map(PathBuf::from)
}

/// Runs a script by bash, in an empty directory and with labs of its own, and gives what it printed.
fn run(script: &str) -> String {
    let temp = tempfile::Builder::new().prefix("k").tempdir_in("/tmp").unwrap();
    let dirs = Assets::from_env(&Options::default()).look(&[Tool::Kubectl, Tool::Etcdctl]).unwrap();
    let mut path = vec![built()];
    path.extend(dirs.into_iter().map(|(tool, found)| {
        found.unwrap_or_else(|| panic!("no {}: kmslab assets install", tool.file())).path.parent().unwrap().to_owned()
    }));
    path.extend(aws());
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    // What a step leaves running when the script fails: its labs by name, the rest with its process group.
    let script = format!("trap 'kmslab down --all; kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(temp.path())
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("HOME", temp.path())
        .env("XDG_CACHE_HOME", cache())
        .env("XDG_RUNTIME_DIR", temp.path())
        .env("XDG_STATE_HOME", temp.path().join("state"))
        .env("AWS_PAGER", "");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_") && name != "AWS_PAGER") {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

/// Where kube-apiserver and its clients are cached, although HOME is another.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
}

#[ignore = "tier guide: needs kube-apiserver, etcd and the AWS CLI, which tests/run gets"]
#[test]
fn the_aws_guide_holds_step_by_step_as_it_is_typed() {
    let script = std::fs::read_to_string(root().join("tests/guide/aws.sh")).unwrap();
    assert!(run(&script).ends_with("all steps held\n"));
}

/// What stands between a README's reader and this test: cargo has built kmslab already, this is one of the tests that `tests/run` runs,
/// and there is one terminal, so what stays in the foreground goes behind.
const READER: &str = r#"
cargo() { test "$1 $2" = "run --"; shift 2; kmslab "$@"; }
kmslab() {
  case $1 in
    up) command kmslab "$@" --detach ;;
    emulator) command kmslab "$@" >emulator.env & until test -s emulator.env; do sleep 0.1; done ;;
    plugin) command kmslab "$@" 2>plugin.log & until test -S "${!##--listen=}"; do sleep 0.1; done ;;
    *) command kmslab "$@" ;;
  esac
}
"#;

#[ignore = "tier guide: needs kube-apiserver, etcd and the AWS CLI, which tests/run gets"]
#[test]
fn the_readme_holds_line_by_line() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    let own = root().join("tests/run").display().to_string();
    let (with_lab, with_emulator): (Vec<&str>, Vec<&str>) =
        blocks.iter().partition(|block| !block.contains("alias/k8s-secrets"));
    assert_eq!((with_lab.len(), with_emulator.len()), (3, 1));
    let script =
        format!("{READER}\n{}\nkmslab down\nkmslab emulator\n{}", with_lab.join("\n"), with_emulator.join("\n"));
    assert_eq!(script.matches("\ntests/run ").count(), 1);
    let printed = run(&script.replace("\ntests/run ", &format!("\ntest -x {own} ")));
    assert_eq!(printed.matches(" passed ").count(), 6, "{printed}");
    assert!(!printed.contains("FAILED"), "{printed}");
    assert!(printed.contains("k8s:enc:kms:v2:kmslab:") && printed.contains("kms-v2"), "{printed}");
    assert!(printed.contains(", 0 with problems"), "{printed}");
}
