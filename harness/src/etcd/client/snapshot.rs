//! Receiving a snapshot: the database in pieces, then the SHA-256 over them.

use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{CALL_TIMEOUT, EtcdClient, EtcdError, pb};

/// Bytes of the checksum that ends a snapshot.
pub(super) const CHECKSUM_LEN: usize = 32;

/// Database and checksum, verified.
pub(super) async fn receive(client: &EtcdClient) -> Result<Vec<u8>, EtcdError> {
    let broken = |reason: String| EtcdError::Snapshot {
        endpoint: client.endpoint.clone(),
        reason,
    };
    let mut stream = client
        .maintenance
        .clone()
        .snapshot(pb::SnapshotRequest {})
        .await
        .map_err(|status| client.failed("Snapshot", status))?
        .into_inner();
    let mut bytes = Vec::new();
    loop {
        // The stream as a whole takes as long as the database is large; only silence is an error.
        let message = timeout(CALL_TIMEOUT, stream.message())
            .await
            .map_err(|_| broken(format!("nothing came for {} s", CALL_TIMEOUT.as_secs())))?
            .map_err(|status| client.failed("Snapshot", status))?;
        match message {
            Some(message) => bytes.extend_from_slice(&message.blob),
            None => break,
        }
    }
    let (database, sum) = bytes
        .split_last_chunk::<CHECKSUM_LEN>()
        .ok_or_else(|| broken("it ended before its checksum".to_owned()))?;
    if digest(&SHA256, database).as_ref() != sum {
        return Err(broken(format!(
            "the SHA-256 over its {} bytes does not match",
            database.len()
        )));
    }
    Ok(bytes)
}

/// Writes beside `path` and renames, so that nobody finds half a snapshot.
pub(super) async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = fs::File::create(&part).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&part, path).await
}
