//! Damaged etcd databases.

use std::io::{Read as _, Write as _};

use fastrand::Rng;
use kmslab::inspect::Options;
use kmslab::inspect::decryptor::Decryptors;
use kmslab::inspect::source::from_file;
use kmslab::inspect::stream::{OutputFormat, inspect_all};

use crate::requests::mutate;

const CHECKSUM: usize = 32;

fn snapshot() -> Vec<u8> {
    let packed = include_bytes!("../../../fixtures/etcd/snapshot.db.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

async fn soak(count: usize) {
    let whole = snapshot();
    let mut random = Rng::with_seed(3);
    let (mut read, mut rejected) = (0, 0);
    for _ in 0..count {
        let mut bytes = whole.clone();
        // Without its checksum, which would reveal the change, it is read like a member's file.
        bytes.truncate(whole.len() - CHECKSUM);
        for _ in 0..random.usize(1..6) {
            // In pages: their headers, their elements, or anywhere.
            let page = random.usize(..bytes.len() / 4096) * 4096;
            let at = match random.u8(0..3) {
                0 => page + random.usize(..16),
                1 => page + 16 + random.usize(..128),
                _ => random.usize(..bytes.len()),
            };
            bytes[at] = random.u8(..);
        }
        match random.u8(0..8) {
            0 => bytes.truncate(random.usize(..bytes.len())),
            1 => mutate(&mut random, &mut bytes),
            _ => {}
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let history = random.bool();
        let looked = async {
            let batches = from_file(file.path(), "/", history).await?;
            let mut decryptors = Decryptors::default();
            inspect_all(
                batches,
                &mut decryptors,
                &Options::default(),
                OutputFormat::Json,
                &mut std::io::sink(),
            )
            .await
        };
        match looked.await {
            Ok(_) => read += 1,
            Err(error) => {
                let message = format!("{error:#}");
                assert!(
                    message.contains("--snapshot") && message.len() < 4096,
                    "{message}"
                );
                rejected += 1;
            }
        }
    }
    println!("{count} databases: {read} read, {rejected} refused");
    assert!(read > 0 && rejected > 0, "{read} read, {rejected} refused");
}

#[tokio::test]
async fn damaged_database_is_read_or_rejected_with_a_reason() {
    soak(60).await;
}

#[ignore = "tier soak: takes minutes; just soak"]
#[tokio::test]
async fn each_of_6_000_damaged_databases_is_read_or_rejected_with_a_reason() {
    soak(6_000).await;
}
