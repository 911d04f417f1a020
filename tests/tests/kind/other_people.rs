//! The emulator's container in Rust tests: the module `testcontainers` of the emulator's crate.

use std::process::Command;

use kmslab::engine::Engine;
use kmslab_e2e::binaries;

#[ignore = "tier kind: needs a container engine, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_emulator_container_starts_for_rust_tests() {
    let created = Command::new(binaries().join("kmslab"))
        .args(["assets", "image"])
        .output()
        .unwrap();
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stderr)
    );

    // Runs the example unmodified.
    let example = Command::new(binaries().join("examples/testcontainers"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&example.stdout);
    assert!(
        example.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&example.stderr)
    );
    assert!(
        printed.starts_with("encrypted and decrypted with "),
        "{printed}"
    );

    let emulator = kmslab_emulator::testcontainers::start().await.unwrap();
    let keys = emulator.keys().await.unwrap();
    assert!(keys.rows.is_empty(), "an emulator of its own: {keys:?}");
    let clock = emulator.clock();
    let hour = std::time::Duration::from_hours(1);
    let before = clock.now().await.unwrap();
    let moved = clock.advance(hour).await.unwrap();
    assert!(moved.clocks.lab >= before + hour, "{moved:?}");
    emulator.reset().await.unwrap();
    assert_eq!(emulator.requests().await.unwrap().total, 0);
    let engine = Engine::find().await.unwrap();
    let id = emulator.container().id().to_owned();
    let published = engine.run(&["port", &id]).await.unwrap();
    if !std::path::Path::new("/.dockerenv").exists() {
        assert!(
            published.lines().all(|line| line.contains("-> 127.0.0.1:")),
            "on loopback only: {published}"
        );
    }
    drop(emulator);
    let removed = async {
        while engine.run(&["inspect", &id]).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), removed)
        .await
        .expect("the container is left over");
}
