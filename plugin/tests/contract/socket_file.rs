//! The socket's file while the plugin runs: removed, replaced, opened to a group.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kmslab_plugin::{Access, RunningPlugin};

use crate::support::{Client, Lab, connect, eventually, get, status};

async fn serving(lab: &Lab) -> (RunningPlugin, SocketAddr, Client) {
    let running = lab
        .plugin()
        .health_listen("127.0.0.1:0".parse().unwrap())
        .start()
        .await
        .unwrap();
    running.first_probe().await.unwrap();
    let addr = running.health_addr().unwrap();
    (running, addr, connect(&lab.socket()).await)
}

async fn until_it_answers(addr: SocketAddr, path: &str, code: u16) -> String {
    for _ in 0..1000 {
        let answer = get(addr, path).await;
        if answer.starts_with(&format!("HTTP/1.1 {code}")) {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{path} does not become {code}");
}

#[tokio::test]
async fn removed_socket_is_bound_again() {
    let lab = Lab::new();
    let (running, addr, mut client) = serving(&lab).await;
    for _ in 0..2 {
        fs::remove_file(lab.socket()).unwrap();
        eventually("the socket", || lab.socket().exists()).await;
        status(&mut connect(&lab.socket()).await).await.unwrap();
        assert_eq!(
            fs::symlink_metadata(lab.socket())
                .unwrap()
                .permissions()
                .mode()
                & 0o7777,
            0o600
        );
    }
    status(&mut client)
        .await
        .expect("who was connected stays connected");
    until_it_answers(addr, "/livez", 200).await;
    running.shutdown().await;
    assert!(!lab.socket().exists(), "the new one goes with the plugin");
}

#[tokio::test]
async fn unbindable_socket_fails_status_and_probes_until_bound() {
    let lab = Lab::new();
    let (running, addr, mut client) = serving(&lab).await;
    fs::remove_file(lab.socket()).unwrap();
    fs::write(lab.socket(), "not a socket").unwrap();
    for path in ["/readyz", "/livez"] {
        let answer = until_it_answers(addr, path, 503).await;
        assert!(
            answer.contains("kms.sock was removed or replaced")
                && answer.contains("a regular file"),
            "{answer}"
        );
    }
    let rejected = status(&mut client).await.unwrap_err();
    assert!(
        rejected.message().contains("it cannot be bound again"),
        "{rejected}"
    );
    assert_eq!(
        fs::read(lab.socket()).unwrap(),
        b"not a socket",
        "what is somebody else's is left alone"
    );

    fs::remove_file(lab.socket()).unwrap();
    until_it_answers(addr, "/readyz", 200).await;
    status(&mut connect(&lab.socket()).await).await.unwrap();
    status(&mut client).await.unwrap();
    running.shutdown().await;
}

#[tokio::test]
async fn socket_returns_to_a_recreated_directory() {
    let lab = Lab::new();
    let (running, addr, _client) = serving(&lab).await;
    let (dir, moved) = (
        lab.dir.path().to_owned(),
        lab.dir.path().with_extension("moved"),
    );
    fs::rename(&dir, &moved).unwrap();
    let answer = until_it_answers(addr, "/livez", 503).await;
    assert!(answer.contains("does not exist"), "{answer}");
    // Back again: the same file, so there is nothing to bind.
    let before = fs::symlink_metadata(moved.join("kms.sock")).unwrap().ino();
    fs::rename(&moved, &dir).unwrap();
    until_it_answers(addr, "/livez", 200).await;
    assert_eq!(fs::symlink_metadata(lab.socket()).unwrap().ino(), before);
    running.shutdown().await;
}

#[tokio::test]
async fn socket_group_can_connect() {
    let lab = Lab::new();
    // The group of the test's own files, which this user may assign.
    let group = fs::metadata(lab.dir.path()).unwrap().gid();
    for (access, mode) in [
        (Access::new(None, Some(group)), 0o660),
        (Access::new(Some(0o620), Some(group)), 0o620),
        (Access::new(Some(0o700), None), 0o700),
    ] {
        let running = lab.plugin().access(access).start().await.unwrap();
        let created = fs::symlink_metadata(lab.socket()).unwrap();
        assert_eq!(
            (created.permissions().mode() & 0o7777, created.gid()),
            (mode, group)
        );
        running.shutdown().await;
    }
}
