//! Sources of values: a server, a file, or memory, in batches.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kmslab_program::file;
use tokio::sync::mpsc;

use crate::etcd::Stored;
use crate::etcd::bbolt::{BboltError, Database};
use crate::etcd::client::{EtcdClient, MAX_COMPACTED_RETRIES, TlsFiles};
use crate::etcd::history::for_each_record;
use crate::etcd::live::for_each_live;
use crate::exit::{environment, say, usage};

/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 1;
/// Approximate size in bytes of a batch from a file.
const BATCH_BYTES: usize = 4 << 20;

/// Prefix of an SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";
const KINE: &str = "a file of SQLite, such as the one that k3s has in place of etcd: read it through k3s, which speaks etcd's protocol: \
                    kmslab inspect --etcd unix:///var/lib/rancher/k3s/server/kine.sock";

/// An item of a source.
#[derive(Debug)]
pub enum Batch {
    /// Some of the values.
    Values(Vec<Stored>),
    /// All values follow again: discard what came so far.
    Restart,
}

/// Values in batches.
#[derive(Debug)]
pub struct Batches {
    receiver: mpsc::Receiver<anyhow::Result<Batch>>,
    unsorted: bool,
}

impl Batches {
    /// Creates batches from values in memory.
    pub fn from_items(items: Vec<Stored>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // The channel has room for one.
        let _ = sender.try_send(Ok(Batch::Values(items)));
        Self {
            receiver,
            unsorted: false,
        }
    }

    /// Returns the next batch; `None` after the last, or after an error.
    pub async fn next(&mut self) -> Option<anyhow::Result<Batch>> {
        self.receiver.recv().await
    }

    /// Whether the values must be sorted by key for output.
    pub(super) fn is_unsorted(&self) -> bool {
        self.unsorted
    }
}

/// Reads the live values under `prefix` from the first endpoint that responds, at one revision.
pub async fn from_etcd(
    endpoints: &[String],
    tls: &TlsFiles,
    prefix: &str,
) -> anyhow::Result<Batches> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match EtcdClient::connect_with(endpoint, tls).await {
            Ok(client) => {
                let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
                tokio::spawn(send_pages(client, prefix.to_owned(), sender));
                return Ok(Batches {
                    receiver,
                    unsorted: false,
                });
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(environment(failures.join("\n")))
}

async fn send_pages(
    client: EtcdClient,
    prefix: String,
    sender: mpsc::Sender<anyhow::Result<Batch>>,
) {
    let mut pages = client.pages(&prefix);
    let mut left = MAX_COMPACTED_RETRIES;
    loop {
        let batch = match pages.next().await {
            Ok(Some(page)) => Ok(Batch::Values(page.into_iter().map(Stored::from).collect())),
            Ok(None) => return,
            Err(error) if error.is_compacted() && left > 1 => {
                left -= 1;
                pages = client.pages(&prefix);
                Ok(Batch::Restart)
            }
            Err(error) => Err(environment(error.to_string())),
        };
        let failed = batch.is_err();
        if sender.send(batch).await.is_err() || failed {
            return;
        }
    }
}

/// The database file in a member's data directory.
fn database_in(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("member/snap/db")
    } else {
        path.to_owned()
    }
}

/// Reads values from a snapshot, a member's database file or its data directory: the live ones, or
/// with `history` every revision in the file. The file is read on demand.
pub async fn from_file(path: &Path, prefix: &str, history: bool) -> anyhow::Result<Batches> {
    let path = database_in(path);
    let decrypted = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || open(&path)).await?
    };
    let database = decrypted?;
    if !database.has_checksum() {
        say!(
            "{}: no checksum at its end, so a member's file and no snapshot; what etcd had only in its log is not in it",
            path.display()
        );
    }
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let prefix = prefix.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut batch = BatchWriter {
            sender: &sender,
            items: Vec::new(),
            bytes: 0,
        };
        let read = if history {
            database.verify_checksum().and_then(|()| {
                for_each_record(&database, &mut |record| {
                    if record.deleted || !record.stored.key.starts_with(&prefix) {
                        Ok(())
                    } else {
                        batch.push(record.stored)
                    }
                })
            })
        } else {
            for_each_live(&database, &prefix, &mut |stored| batch.push(stored))
        };
        match read.and_then(|()| batch.send()) {
            // The receiver was dropped, which is not an error of the file.
            Ok(()) | Err(BboltError::Stopped) => {}
            Err(error) => drop(sender.blocking_send(Err(unusable_file(&path, &error)))),
        }
    });
    Ok(Batches {
        receiver,
        unsorted: !history,
    })
}

fn unusable_file(path: &Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    usage(format!("--snapshot {}: {error}", path.display()))
}

fn open(path: &Path) -> anyhow::Result<Database> {
    file::ensure_regular_file(path).map_err(|error| unusable_file(path, &error))?;
    let mut file = File::open(path).map_err(|error| unusable_file(path, &error))?;
    let mut first = Vec::new();
    (&mut file)
        .take(SQLITE.len() as u64)
        .read_to_end(&mut first)
        .map_err(|error| unusable_file(path, &error))?;
    if first == SQLITE {
        return Err(unusable_file(path, &KINE));
    }
    Database::open_unchecked(file).map_err(|error| unusable_file(path, &error))
}

/// A batch being filled.
struct BatchWriter<'s> {
    sender: &'s mpsc::Sender<anyhow::Result<Batch>>,
    items: Vec<Stored>,
    bytes: usize,
}

impl BatchWriter<'_> {
    fn push(&mut self, stored: Stored) -> Result<(), BboltError> {
        self.bytes += stored.key.len() + stored.value.len() + size_of::<Stored>();
        self.items.push(stored);
        if self.bytes >= BATCH_BYTES {
            self.send()
        } else {
            Ok(())
        }
    }

    fn send(&mut self) -> Result<(), BboltError> {
        self.bytes = 0;
        let items = std::mem::take(&mut self.items);
        self.sender
            .blocking_send(Ok(Batch::Values(items)))
            .map_err(|_| BboltError::Stopped)
    }
}

#[cfg(test)]
impl Batches {
    /// Creates a source from batches in memory.
    pub(super) fn from_batches(batches: Vec<Batch>) -> Self {
        let (sender, receiver) = mpsc::channel(batches.len());
        batches
            .into_iter()
            .for_each(|batch| sender.try_send(Ok(batch)).unwrap());
        Self {
            receiver,
            unsorted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn file_that_is_not_a_database_is_named() {
        let error = from_file(Path::new("/nonexistent.db"), "/", false)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent.db"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let error = from_file(dir.path(), "/", false).await.unwrap_err();
        assert!(error.to_string().contains("member/snap/db"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no database").unwrap();
        let error = from_file(file.path(), "/", false).await.unwrap_err();
        assert!(
            error.to_string().contains("not a bbolt database"),
            "{error}"
        );
        assert_eq!(crate::exit::code(&error), 2);
        std::fs::write(file.path(), "SQLite format 3\0and more").unwrap();
        let error = from_file(file.path(), "/", false).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("--etcd unix:///var/lib/rancher/k3s/server/kine.sock"),
            "{error}"
        );
        let error = from_file(Path::new("/dev/zero"), "/", false)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no file"), "{error}");
    }
}
