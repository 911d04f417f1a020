//! In-process emulators leave nothing behind when they are dropped or shut down.

use std::sync::Arc;
use std::time::Duration;

use kmslab_emulator::{Emulator, StartError};
use kmslab_keycore::SeededEntropy;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Call, free_port};

#[tokio::test]
async fn dropping_the_emulator_closes_ports_and_connections() {
    let emulator = Emulator::builder()
        .tls_listen(free_port())
        .admin_listen(free_port())
        .start()
        .await
        .unwrap();
    let addresses = [
        emulator.http_addr(),
        emulator.https_addr().unwrap(),
        emulator.admin_addr().unwrap(),
    ];
    let ca = emulator.ca_path().unwrap();
    assert_eq!(
        Call::new("ListKeys", "{}").send(addresses[0]).await.status,
        200
    );
    let mut idle = TcpStream::connect(addresses[0]).await.unwrap();
    drop(emulator);
    // The server has closed its side, so this does not hang.
    let ended = tokio::time::timeout(Duration::from_secs(10), idle.read(&mut [0]))
        .await
        .unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    for address in addresses {
        TcpListener::bind(address).await.unwrap();
    }
    assert!(!ca.exists());
}

#[tokio::test]
async fn shutdown_completes_with_an_open_connection() {
    let emulator = Emulator::builder().start().await.unwrap();
    let address = emulator.http_addr();
    let _idle = TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), emulator.stop())
        .await
        .unwrap();
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn port_in_use_error_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for (builder, flag) in [
        (Emulator::builder().listen(address), "--listen"),
        (
            Emulator::builder().tls_listen(Some(address)),
            "--tls-listen",
        ),
        (
            Emulator::builder().admin_listen(Some(address)),
            "--admin-listen",
        ),
    ] {
        let error = builder.start().await.unwrap_err();
        assert!(matches!(error, StartError::Listen { .. }) && error.is_environment());
        let text = error.to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains(flag),
            "{text}"
        );
    }
}

#[tokio::test]
async fn two_emulators_share_no_keys() {
    let (one, two) = (
        Emulator::builder().start().await.unwrap(),
        Emulator::builder().start().await.unwrap(),
    );
    assert_eq!(
        Call::new("CreateKey", "{}")
            .send(one.http_addr())
            .await
            .status,
        200
    );
    assert_eq!(
        (one.keys().await.rows.len(), two.keys().await.rows.len()),
        (1, 0)
    );
}

#[tokio::test]
async fn keys_are_the_same_with_the_same_entropy() {
    let created = async |seed| {
        let emulator = Emulator::builder()
            .entropy(Arc::new(SeededEntropy::new(seed)))
            .start()
            .await
            .unwrap();
        Call::new("CreateKey", "{}")
            .send(emulator.http_addr())
            .await;
        emulator.keys().await.rows[0].key.clone()
    };
    let first = created(1).await;
    assert_eq!(created(1).await, first);
    assert_ne!(created(2).await, first);
}
