//! Directories of labs, including those of dead owners.

use std::os::unix::process::CommandExt;

use super::*;
use crate::platform;

fn roots() -> (tempfile::TempDir, Roots) {
    let temp = tempfile::tempdir().unwrap();
    let roots = Roots {
        runtime: vec![temp.path().join("run")],
        state: temp.path().join("state"),
    };
    (temp, roots)
}

/// What a SIGKILL leaves: the directory and the lock file, unlocked.
fn leave_behind(dir: RuntimeDir) {
    let mut dir = std::mem::ManuallyDrop::new(dir);
    dir.lock = None;
}

fn sleeper() -> std::process::Child {
    std::process::Command::new("sleep")
        .arg("600")
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn lab_directory_is_private_exclusive_and_removed() {
    let (_temp, roots) = roots();
    let dir = RuntimeDir::create_in(&roots, "one").unwrap();
    let error = RuntimeDir::create_in(&roots, "one").unwrap_err();
    assert!(
        matches!(&error, RuntimeDirError::InUse { owner: Some(pid), .. } if *pid == std::process::id()),
        "{error}"
    );
    assert_eq!(sweep_in(&roots), []);
    let found = labs_in(&roots);
    assert!(found.len() == 1 && found[0].alive && found[0].path == dir.path());
    let secret = dir.write_private("kubeconfig", b"x").unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(secret).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    drop(dir);
    assert_eq!(std::fs::read_dir(&roots.runtime[0]).unwrap().count(), 0);
}

#[test]
fn dead_lab_is_swept_and_its_logs_are_kept() {
    let (_temp, roots) = roots();
    let dir = RuntimeDir::create_in(&roots, "dead").unwrap();
    std::fs::write(dir.logs().join("etcd.log"), "why").unwrap();
    let mut child = sleeper();
    dir.record_process(
        "etcd",
        child.id(),
        platform::start_time(child.id()).unwrap().unwrap(),
    )
    .unwrap();
    leave_behind(dir);
    let swept = sweep_in(&roots);
    assert_eq!(swept.len(), 1);
    assert_eq!(
        (swept[0].name.as_str(), &*swept[0].killed),
        ("dead", &["etcd".to_owned()][..])
    );
    assert_eq!(
        std::fs::read_to_string(swept[0].logs.as_ref().unwrap().join("etcd.log")).unwrap(),
        "why"
    );
    assert!(!child.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(&roots.runtime[0]).unwrap().count(), 0);
}

#[test]
fn reused_pid_is_not_killed() {
    let (_temp, roots) = roots();
    let dir = RuntimeDir::create_in(&roots, "reused").unwrap();
    let mut innocent = sleeper();
    let other = platform::start_time(std::process::id()).unwrap().unwrap();
    let before = platform::start_time(innocent.id()).unwrap().unwrap();
    // Ticks of 10 ms: on a fast machine both could be equal.
    let other = if other == before {
        serde_json::from_str("\"earlier\"").unwrap()
    } else {
        other
    };
    dir.record_process("etcd", innocent.id(), other).unwrap();
    leave_behind(dir);
    assert_eq!(sweep_in(&roots)[0].killed, [""; 0]);
    assert!(innocent.try_wait().unwrap().is_none());
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[test]
fn lab_name_is_free_after_its_owner_died() {
    let (_temp, roots) = roots();
    leave_behind(RuntimeDir::create_in(&roots, "again").unwrap());
    let dir = RuntimeDir::create_in(&roots, "again").unwrap();
    assert!(dir.path().is_dir());
}

#[test]
fn incomplete_labs_are_swept() {
    let (_temp, roots) = roots();
    drop(RuntimeDir::create_in(&roots, "x").unwrap());
    std::fs::create_dir(roots.runtime[0].join("no-state")).unwrap();
    std::fs::write(roots.runtime[0].join("no-dir.lock"), "").unwrap();
    sweep_in(&roots);
    assert_eq!(std::fs::read_dir(&roots.runtime[0]).unwrap().count(), 0);
}

#[test]
fn invalid_lab_names_and_roots_are_rejected() {
    let (_temp, roots) = roots();
    for name in ["", "-a", "A", "a/b", "..", "a b", &"x".repeat(33)] {
        assert!(
            matches!(
                RuntimeDir::create_in(&roots, name),
                Err(RuntimeDirError::BadName(_))
            ),
            "{name}"
        );
    }
    drop(RuntimeDir::create_in(&roots, "x").unwrap());
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&roots.runtime[0], std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = RuntimeDir::create_in(&roots, "x").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is open to other users: remove it"),
        "{error}"
    );
}

#[test]
fn logs_of_the_last_twenty_labs_are_kept() {
    let (_temp, roots) = roots();
    let dir = RuntimeDir::create_in(&roots, "logs").unwrap();
    assert_eq!(dir.keep_logs().unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::write(dir.logs().join("x.log"), "x").unwrap();
    for _ in 0..25 {
        assert!(dir.keep_logs().unwrap().join("x.log").is_file());
    }
    assert_eq!(
        std::fs::read_dir(roots.state.join("logs")).unwrap().count(),
        20
    );
}
