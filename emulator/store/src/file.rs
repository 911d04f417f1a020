//! Records in a file, an embedded database of the crate `redb`: a change is written beside what is
//! there and becomes visible by one write at the end, so that a crash leaves the one or the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{DatabaseError, StorageError};

use crate::error::is_full;
use crate::writer::Writer;
use crate::{Change, Database, MasterKey, Record, StoreError, seal};

/// Memory for pages of the file. Records are read once, at the start.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
const MODE: u32 = 0o600;

/// Opens the database, at the start and again after a failure.
pub(crate) type Open =
    dyn Fn(&redb::Builder) -> Result<redb::Database, DatabaseError> + Send + Sync;

/// Records in a file.
#[derive(Debug)]
pub struct FileDatabase {
    master: MasterKey,
    writer: Writer,
}

impl FileDatabase {
    /// Opens or creates a file, which only its owner may read. It is locked until the value is
    /// dropped.
    pub fn open(path: &Path, master: MasterKey) -> Result<Self, StoreError> {
        let file = path.to_owned();
        let open = move |builder: &redb::Builder| {
            builder.create_with_backend(FileBackend::new(open_file(&file)?)?)
        };
        Self::with_device(path, master, Box::new(open))
    }

    /// Opens or creates a database on any device. `path` names it in errors.
    pub(crate) fn with_device(
        path: &Path,
        master: MasterKey,
        open: Box<Open>,
    ) -> Result<Self, StoreError> {
        let named = path.to_owned();
        let open = Box::new(move || {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            open(&builder).map_err(|error| open_failed(&named, error))
        });
        let writer = Writer::start(open, path, &master)?;
        Ok(Self { master, writer })
    }
}

impl Database for FileDatabase {
    fn load(&self, table: &'static str) -> Result<Vec<Record>, StoreError> {
        let sealed = self.writer.load(table)?;
        let opened = sealed.into_iter().map(|record| {
            let value = seal::open(&self.master, table, &record.key, &record.value);
            match value {
                Some(value) => Ok(Record { value, ..record }),
                None => Err(StoreError::Damaged {
                    table,
                    key: record.key,
                    message: "does not open with the master key".to_owned(),
                }),
            }
        });
        opened.collect()
    }

    fn commit(&self, mut changes: Vec<Change>) -> Result<(), StoreError> {
        for change in &mut changes {
            if let Some(value) = &mut change.value {
                *value = seal::seal(&self.master, change.table, &change.key, value)?;
            }
        }
        self.writer.commit(changes)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, MODE);
    let file = options.create_new(true).open(path)?;
    // So that the name survives as the content does.
    if let Some(directory) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

fn open_failed(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::InUse { path }
        }
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            io::ErrorKind::InvalidData => StoreError::NotAStore {
                path,
                message: error.to_string(),
            },
            _ if is_full(&error) => StoreError::Full,
            _ => StoreError::Open {
                path,
                message: error.to_string(),
            },
        },
        other => StoreError::NotAStore {
            path,
            message: other.to_string(),
        },
    }
}
