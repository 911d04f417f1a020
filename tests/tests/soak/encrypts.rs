//! Encrypts through the plugin: each succeeds, decrypts and is counted once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kmslab_kmsv2::socket::key_management_service_client::KeyManagementServiceClient;
use kmslab_kmsv2::socket::{DecryptRequest, EncryptRequest};
use tonic::transport::{Channel, Endpoint};

use crate::program::{Emulator, Program, listens};

const CLIENTS: usize = 16;
/// Maximum growth in MiB of each program from a tenth of the calls to the end.
const GROWTH: u64 = 16;

async fn encrypt(client: KeyManagementServiceClient<Channel>, count: usize) {
    let left = Arc::new(AtomicUsize::new(count));
    let clients = (0..CLIENTS).map(|_| {
        let (mut client, left) = (client.clone(), Arc::clone(&left));
        tokio::spawn(async move {
            while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            }) {
                let plaintext = format!("seed {number:027}").into_bytes();
                let request = EncryptRequest {
                    plaintext: plaintext.clone(),
                    uid: number.to_string(),
                };
                let encrypted = client.encrypt(request).await.unwrap().into_inner();
                if number % 100 == 0 {
                    let request = DecryptRequest {
                        ciphertext: encrypted.ciphertext,
                        uid: number.to_string(),
                        key_id: encrypted.key_id,
                        annotations: encrypted.annotations,
                    };
                    assert_eq!(
                        client
                            .decrypt(request)
                            .await
                            .unwrap()
                            .into_inner()
                            .plaintext,
                        plaintext
                    );
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

async fn soak(count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("seed.yaml");
    std::fs::write(&seed, "keys:\n  - aliases: [alias/k]\n").unwrap();
    let emulator = Emulator::start(&["--seed", seed.to_str().unwrap()]).await;
    let keys: serde_json::Value =
        serde_json::from_str(&emulator.admin("GET", "/keys").await).unwrap();
    let arn = keys["keys"][0]["key"].as_str().unwrap();
    let socket = dir.path().join("kms.sock");
    let (endpoint, listen) = (
        format!("http://{}", emulator.http),
        socket.display().to_string(),
    );
    let args = [
        "plugin",
        "aws",
        "--key",
        arn,
        "--endpoint-url",
        &endpoint,
        "--listen",
        &listen,
    ];
    let (plugin, _printed) = Program::start(&args);
    listens(&socket, &plugin).await;
    let channel = Endpoint::try_from(format!("unix://{listen}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let client = KeyManagementServiceClient::new(channel);
    encrypt(client.clone(), count / 10).await;
    let before = (plugin.memory(), emulator.program.memory());
    encrypt(client, count - count / 10).await;
    let after = (plugin.memory(), emulator.program.memory());
    let metrics = emulator.admin("GET", "/metrics").await;
    let ours = metrics
        .lines()
        .find(|line| line.contains("\"Encrypt\"") && line.contains("\"OK\""));
    let counted: usize = ours
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{metrics}"));
    // In addition to the plugin's own calls.
    assert!(counted >= count, "{counted} of {count} were counted");
    println!("{count} Encrypts: MiB of plugin and emulator {before:?}, then {after:?}");
    assert!(
        after.0 <= before.0 + GROWTH && after.1 <= before.1 + GROWTH,
        "{before:?} MiB became {after:?}"
    );
    plugin.stop().await;
    emulator.program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypts_succeed_without_memory_growth() {
    soak(500).await;
}

#[ignore = "tier soak: takes minutes; just soak"]
#[tokio::test(flavor = "multi_thread")]
async fn encrypts_of_1_000_000_succeed_without_memory_growth() {
    soak(1_000_000).await;
}
