//! Receiving a snapshot: the database in pieces, then their SHA-256.

use std::io;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{CALL_TIMEOUT, EtcdClient, EtcdError, pb};

/// Length in bytes of the checksum at the end of a snapshot.
pub(super) const CHECKSUM_LEN: usize = 32;

/// Returns the database and its checksum, verified.
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
        // The whole stream takes as long as the database is large; the timeout is for one message.
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

/// Writes a temporary file and renames it, so that `path` is never incomplete.
pub(super) async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut file = fs::File::create(&part).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    fs::rename(&part, path).await
}
