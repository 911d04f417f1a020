//! The socket's file and the end of the plugin: finished calls, timeouts, kills.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kmslab_plugin::{MAX_PATH_LEN, Plugin, SocketError, StartError};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::{
    FakeKek, Lab, connect, decrypt, decrypt_request, encrypt, eventually, get, status,
};

#[tokio::test]
async fn socket_is_private_and_removed_on_shutdown() {
    let lab = Lab::new();
    let (running, _client) = lab.start().await;
    let meta = fs::symlink_metadata(lab.socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
    running.shutdown().await;
    assert_eq!(
        fs::read_dir(lab.dir.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn shutdown_finishes_running_calls() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let created = encrypt(&mut client, b"x").await.unwrap();
    let held = lab.kek.gate.acquire_many(1000).await.unwrap();
    let call = tokio::spawn(async move { decrypt(&mut client, decrypt_request(&created)).await });
    eventually("the Decrypt", || running.counts().in_flight == 1).await;
    let shutdown = tokio::spawn(running.shutdown());
    let socket = lab.socket();
    eventually("the socket to go", || !socket.exists()).await;
    assert!(!shutdown.is_finished(), "a call is in flight");
    drop(held);
    assert_eq!(call.await.unwrap().unwrap(), b"x");
    shutdown.await.unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_endless_call() {
    let lab = Lab::new();
    let running = lab
        .plugin()
        .drain(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let mut client = connect(&lab.socket()).await;
    let created = encrypt(&mut client, b"x").await.unwrap();
    let _held = lab.kek.gate.acquire_many(1000).await.unwrap();
    let call = tokio::spawn(async move { decrypt(&mut client, decrypt_request(&created)).await });
    eventually("the Decrypt", || running.counts().in_flight == 1).await;
    running.shutdown().await;
    call.await.unwrap().unwrap_err();
    eventually("the call to be dropped", || {
        lab.kek.unwrapping.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn stale_socket_of_a_killed_plugin_is_taken_over() {
    let lab = Lab::new();
    let (running, mut client) = lab.start().await;
    let created = encrypt(&mut client, b"x").await.unwrap();
    let held = lab.kek.gate.acquire_many(1000).await.unwrap();
    let request = decrypt_request(&created);
    let call = tokio::spawn(async move { decrypt(&mut client, request).await });
    eventually("the Decrypt", || running.counts().in_flight == 1).await;
    running.kill();
    assert!(
        fs::symlink_metadata(lab.socket())
            .unwrap()
            .file_type()
            .is_socket(),
        "as after SIGKILL"
    );
    UnixStream::connect(lab.socket())
        .await
        .expect_err("nobody listens");

    call.await.unwrap().unwrap_err();
    eventually("the call to be dropped", || {
        lab.kek.unwrapping.load(Ordering::SeqCst) == 0
    })
    .await;
    drop(held);
    let (_running, mut client) = lab.start().await;
    let before = lab.kek.wraps.load(Ordering::SeqCst);
    assert_eq!(
        decrypt(&mut client, decrypt_request(&created))
            .await
            .unwrap(),
        b"x"
    );
    lab.timer.advance(10);
    eventually("a probe of the new plugin", || {
        lab.kek.wraps.load(Ordering::SeqCst) > before
    })
    .await;
    tokio::task::yield_now().await;
    assert_eq!(
        lab.kek.wraps.load(Ordering::SeqCst),
        before + 1,
        "the killed one probes no more"
    );
}

#[tokio::test]
async fn live_socket_is_not_taken_over() {
    let lab = Lab::new();
    let (_running, mut client) = lab.start().await;
    let error = lab.plugin().start().await.unwrap_err();
    assert!(
        matches!(error, StartError::Socket(SocketError::InUse { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("another plugin is listening"));
    status(&mut client).await.unwrap();
    status(&mut connect(&lab.socket()).await).await.unwrap();
}

#[tokio::test]
async fn concurrent_starts_over_a_stale_socket_leave_one_listener() {
    let lab = Lab::new();
    drop(UnixListener::bind(lab.socket()).unwrap());
    let starts: Vec<_> = (0..6).map(|_| tokio::spawn(lab.plugin().start())).collect();
    let (mut running, mut rejected) = (Vec::new(), 0);
    for start in starts {
        match start.await.unwrap() {
            Ok(plugin) => running.push(plugin),
            Err(error) => {
                assert!(
                    matches!(error, StartError::Socket(SocketError::InUse { .. })),
                    "{error}"
                );
                rejected += 1;
            }
        }
    }
    assert_eq!((running.len(), rejected), (1, 5));
    status(&mut connect(&lab.socket()).await).await.unwrap();
}

#[tokio::test]
async fn files_that_are_not_sockets_are_never_removed() {
    let lab = Lab::new();
    let path = lab.socket();
    let rejected = async |what: &str| {
        let error = lab.plugin().start().await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("there is {what} already, which is left alone")),
            "{error}"
        );
    };
    fs::write(&path, b"precious").unwrap();
    rejected("a regular file").await;
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    rejected("a directory").await;
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    rejected("a symbolic link").await;
    assert!(
        fs::symlink_metadata(&path)
            .unwrap()
            .file_type()
            .is_symlink()
    );
}

#[tokio::test]
async fn invalid_socket_paths_are_named() {
    let lab = Lab::new();
    let start = async |path: std::path::PathBuf| {
        Plugin::builder(FakeKek::new(), path)
            .start()
            .await
            .unwrap_err()
            .to_string()
    };
    let error = start(lab.dir.path().join("missing/kms.sock")).await;
    assert!(
        error.contains("does not exist: create it with `install -d -m 0700"),
        "{error}"
    );
    let error = start(lab.dir.path().join("x".repeat(MAX_PATH_LEN))).await;
    assert!(
        error.contains(&format!(
            "a unix socket's may have {MAX_PATH_LEN}: choose a shorter one"
        )),
        "{error}"
    );
    // The longest valid path can be bound.
    let longest = MAX_PATH_LEN - lab.dir.path().as_os_str().len() - 1;
    let running = Plugin::builder(FakeKek::new(), lab.dir.path().join("x".repeat(longest)))
        .start()
        .await
        .unwrap();
    running.shutdown().await;
}

#[tokio::test]
async fn shutdown_keeps_the_socket_of_a_successor() {
    let lab = Lab::new();
    let (running, _client) = lab.start().await;
    fs::remove_file(lab.socket()).unwrap();
    let (_successor, mut client) = lab.start().await;
    let inode = fs::symlink_metadata(lab.socket()).unwrap().ino();
    running.shutdown().await;
    assert_eq!(fs::symlink_metadata(lab.socket()).unwrap().ino(), inode);
    status(&mut client).await.unwrap();
}

#[tokio::test]
async fn reserved_health_port_is_bound_only_where_sharing_is_permitted() {
    let lab = Lab::new();
    let reserved = tokio::net::TcpSocket::new_v4().unwrap();
    reserved.set_reuseport(true).unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = reserved.local_addr().unwrap();
    let refused = lab.plugin().health_listen(addr).start().await.unwrap_err();
    assert!(
        refused.to_string().contains("choose a free port"),
        "{refused}"
    );
    for _ in 0..2 {
        let plugin = lab.plugin().health_listen(addr).permit_port_sharing(true);
        let running = plugin.start().await.unwrap();
        running.first_probe().await.unwrap();
        assert!(get(addr, "/livez").await.starts_with("HTTP/1.1 200"));
        running.shutdown().await;
    }
}

#[tokio::test]
async fn health_port_reports_liveness_readiness_and_metrics() {
    let lab = Lab::new();
    let running = lab
        .plugin()
        .health_listen("127.0.0.1:0".parse().unwrap())
        .start()
        .await
        .unwrap();
    running.first_probe().await.unwrap();
    let addr = running.health_addr().unwrap();
    let mut client = connect(&lab.socket()).await;
    encrypt(&mut client, b"x").await.unwrap();
    encrypt(&mut client, b"").await.unwrap_err();
    assert!(get(addr, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(addr, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(addr, "/").await.starts_with("HTTP/1.1 404"));
    let metrics = get(addr, "/metrics").await;
    for line in [
        "kmslab_plugin_requests_total{operation=\"encrypt\",code=\"Ok\"} 1",
        "kmslab_plugin_requests_total{operation=\"encrypt\",code=\"InvalidArgument\"} 1",
        "kmslab_plugin_request_duration_seconds_count{operation=\"encrypt\"} 2",
        &format!("kmslab_plugin_cloud_requests_total {}", lab.kek.calls()),
        "kmslab_plugin_kek_calls_total{operation=\"wrap\",result=\"ok\"} 2",
        "kmslab_plugin_kek_calls_total{operation=\"unwrap\",result=\"ok\"} 1",
        "kmslab_plugin_kek_call_duration_seconds_count{operation=\"current\"} 1",
        "kmslab_plugin_in_flight 0",
        "kmslab_plugin_healthy 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    lab.timer.advance(1);
    lab.kek
        .fail(kmslab_plugin::kek::KekError::Disabled { key: "k".into() });
    encrypt(&mut client, b"x").await.unwrap_err();
    let ready = get(addr, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("the key k is disabled"),
        "{ready}"
    );
    assert!(
        get(addr, "/livez").await.starts_with("HTTP/1.1 200"),
        "a restart would not help"
    );
    running.shutdown().await;
    TcpStream::connect(addr).await.expect_err("closed");
}

#[tokio::test]
async fn unavailable_health_port_leaves_no_socket() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = lab
        .plugin()
        .health_listen(taken.local_addr().unwrap())
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("choose a free port"), "{error}");
    assert!(!lab.socket().exists());
}

#[tokio::test]
async fn grace_shorter_than_two_probes_is_rejected() {
    let lab = Lab::new();
    let error = lab
        .plugin()
        .grace(Duration::from_secs(15))
        .start()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("at least twice the interval"),
        "{error}"
    );
}
