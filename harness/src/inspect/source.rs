//! Where the values come from.

use std::path::{Path, PathBuf};

use kmslab_plugin::file;

use crate::etcd::bbolt::Database;
use crate::etcd::client::{EtcdClient, TlsFiles};
use crate::etcd::history::History;
use crate::etcd::{Etcd, Stored};
use crate::exit::{environment, say, usage};

/// Bytes of a database: etcd itself is not run with more than 8 GiB.
const MOST: u64 = 16 << 30;

/// The live values under `prefix` of the first endpoint that answers.
pub async fn from_etcd(endpoints: &[String], tls: &TlsFiles, prefix: &str) -> anyhow::Result<Vec<Stored>> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match EtcdClient::connect_with(endpoint, tls).await {
            Ok(client) => {
                let range = client.range(prefix).await.map_err(|error| environment(format!("{error:#}")))?;
                return Ok(range.items);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(environment(failures.join("\n")))
}

/// The database file of a member, where its data directory was named.
fn database_in(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("member/snap/db") } else { path.to_owned() }
}

/// Values in a snapshot, in a member's database file or in its data directory: the live ones, or with `history` every revision that is still in it.
pub fn from_file(path: &Path, prefix: &str, history: bool) -> anyhow::Result<Vec<Stored>> {
    let path = &database_in(path);
    let unusable = |error: &dyn std::fmt::Display| usage(format!("--snapshot {}: {error}", path.display()));
    let bytes = file::read(path, MOST).map_err(|error| unusable(&error))?;
    let database = Database::parse(bytes.to_vec()).map_err(|error| unusable(&error))?;
    if !database.has_checksum() {
        say!(
            "{}: no checksum at its end, so a member's file and no snapshot; what etcd had only in its log is not in it",
            path.display()
        );
    }
    let read = History::read(&database).map_err(|error| unusable(&error))?;
    if !history {
        return Ok(read.live(prefix).items);
    }
    let written = read.records.into_iter().filter(|record| !record.deleted && record.stored.key.starts_with(prefix));
    Ok(written.map(|record| record.stored).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let error = from_file(Path::new("/nonexistent.db"), "/", false).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.db"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let error = from_file(dir.path(), "/", false).unwrap_err();
        assert!(error.to_string().contains("member/snap/db"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no database").unwrap();
        let error = from_file(file.path(), "/", false).unwrap_err();
        assert!(error.to_string().contains("not a bbolt database"), "{error}");
        assert_eq!(crate::exit::code(&error), 2);
    }
}
