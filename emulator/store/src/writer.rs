//! The thread that owns the database. It stores what came while it was busy in one transaction, so
//! that many changes wait for the device once.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use crate::error::is_full;
use crate::{Change, MasterKey, Record, StoreError, seal};

/// Format of the records. Raise it when an older program would misread them.
const FORMAT: u64 = 1;
/// Maximum number of batches of a transaction.
const MAX_BATCHES: usize = 256;
/// Records of the database itself.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
/// Number of the latest transaction, which tells whether one took effect that seemed to fail.
const TRANSACTION_KEY: &str = "transaction";
/// A value that only the right master key opens.
const CHECK_KEY: &str = "check";

pub(crate) type Reopen = Box<dyn Fn() -> Result<redb::Database, StoreError> + Send>;
type Reply<T> = mpsc::SyncSender<Result<T, StoreError>>;

enum Request {
    Load(&'static str, Reply<Vec<Record>>),
    /// Changes with sealed values.
    Commit(Vec<Change>, Reply<()>),
}

/// A handle of the thread, which ends with it.
pub(crate) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Opens the database and starts the thread.
    pub(crate) fn start(open: Reopen, path: &Path, master: &MasterKey) -> Result<Self, StoreError> {
        let mut stored = Stored {
            path: path.to_owned(),
            open,
            database: None,
            transaction: 0,
        };
        guarded(|| stored.initialize(master))?;
        let (requests, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || stored.serve(&received))
            .map_err(|error| StoreError::Write(error.to_string()))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    pub(crate) fn load(&self, table: &'static str) -> Result<Vec<Record>, StoreError> {
        self.request(|reply| Request::Load(table, reply))
    }

    pub(crate) fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.request(|reply| Request::Commit(changes, reply))
    }

    fn request<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let stopped = || StoreError::Write("the store has stopped".to_owned());
        let (reply, replied) = mpsc::sync_channel(1);
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(request(reply)).map_err(|_| stopped())?;
        replied.recv().map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Ends the thread, which closes the database.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The database, as the thread has it.
struct Stored {
    path: PathBuf,
    open: Reopen,
    /// Closed after a failure, until the next request.
    database: Option<redb::Database>,
    /// Number of the latest transaction that took effect.
    transaction: u64,
}

impl Stored {
    /// Checks format and master key, or writes them into a new database.
    fn initialize(&mut self, master: &MasterKey) -> Result<(), StoreError> {
        let path = self.path.clone();
        let database = self.database()?;
        let meta = read_meta(database).map_err(|error| read_failed(&error))?;
        let Some(format) = meta.get(FORMAT_KEY) else {
            // Another program's database is not written to.
            if has_tables(database).map_err(|error| read_failed(&error))? {
                return Err(StoreError::NotAStore {
                    path,
                    message: "it is a database of another program".to_owned(),
                });
            }
            let check = seal::seal(master, META_TABLE, CHECK_KEY, b"kmslab")?;
            return self.create(&check);
        };
        let found = number(Some(format)).unwrap_or(u64::MAX);
        if found != FORMAT {
            return Err(StoreError::Format {
                path,
                found,
                known: FORMAT,
            });
        }
        let check = meta.get(CHECK_KEY).map_or(&[][..], Vec::as_slice);
        if seal::open(master, META_TABLE, CHECK_KEY, check).is_none() {
            return Err(StoreError::WrongMasterKey { path });
        }
        Ok(())
    }

    fn create(&mut self, check: &[u8]) -> Result<(), StoreError> {
        let write = |database: &redb::Database| -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert(FORMAT_KEY, &FORMAT.to_be_bytes()[..])?;
                meta.insert(TRANSACTION_KEY, &0_u64.to_be_bytes()[..])?;
                meta.insert(CHECK_KEY, check)?;
            }
            Ok(transaction.commit()?)
        };
        write(self.database()?).map_err(|error| write_failed(&error))
    }

    /// The database, opened if it was not.
    fn database(&mut self) -> Result<&redb::Database, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let database = (self.open)()?;
                let meta = read_meta(&database).map_err(|error| read_failed(&error))?;
                self.transaction = number(meta.get(TRANSACTION_KEY)).unwrap_or_default();
                database
            }
        };
        Ok(self.database.insert(database))
    }

    fn serve(mut self, requests: &mpsc::Receiver<Request>) {
        let mut next = requests.recv().ok();
        while let Some(request) = next.take() {
            match request {
                Request::Load(table, reply) => {
                    let _ = reply.send(guarded(|| self.load(table)));
                    next = requests.recv().ok();
                }
                Request::Commit(changes, reply) => {
                    let mut batches = vec![(changes, reply)];
                    while batches.len() < MAX_BATCHES {
                        match requests.try_recv() {
                            Ok(Request::Commit(changes, reply)) => batches.push((changes, reply)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(batches);
                    next = next.take().or_else(|| requests.recv().ok());
                }
            }
        }
    }

    fn load(&mut self, table: &'static str) -> Result<Vec<Record>, StoreError> {
        let database = self.database()?;
        let loaded = read(database, table, |key, value| Record {
            key: key.to_owned(),
            value: value.to_vec(),
        });
        loaded.map_err(|error| {
            self.database = None;
            read_failed(&error)
        })
    }

    fn commit(&mut self, batches: Vec<(Vec<Change>, Reply<()>)>) {
        let changes = batches.iter().flat_map(|(changes, _)| changes);
        let done = self.write(changes);
        for (_, reply) in batches {
            let _ = reply.send(done.clone());
        }
    }

    fn write<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), StoreError> {
        guarded(|| self.database().map(drop))?;
        let number = self.transaction + 1;
        let written = guarded(|| write(self.database()?, number, changes));
        let Err(error) = written else {
            self.transaction = number;
            return Ok(());
        };
        tracing::error!(%error, path = %self.path.display(), "the store cannot be written");
        // A database that had an error must be opened again, and what failed may have taken effect.
        self.database = None;
        match guarded(|| self.database().map(drop)) {
            Ok(()) if self.transaction == number => Ok(()),
            Ok(()) => Err(error),
            Err(_) => Err(StoreError::Unknown(error.to_string())),
        }
    }
}

const META_TABLE: &str = "meta";

fn read_meta(database: &redb::Database) -> Result<HashMap<String, Vec<u8>>, redb::Error> {
    let entries = read(database, META_TABLE, |key, value| {
        (key.to_owned(), value.to_vec())
    })?;
    Ok(entries.into_iter().collect())
}

fn has_tables(database: &redb::Database) -> Result<bool, redb::Error> {
    let transaction = database.begin_read()?;
    let tables = transaction.list_tables()?.next().is_some();
    Ok(tables || transaction.list_multimap_tables()?.next().is_some())
}

/// All entries of a table; none if it does not exist.
fn read<T>(
    database: &redb::Database,
    table: &str,
    entry: impl Fn(&str, &[u8]) -> T,
) -> Result<Vec<T>, redb::Error> {
    let transaction = database.begin_read()?;
    let definition = TableDefinition::<&str, &[u8]>::new(table);
    let table = match transaction.open_table(definition) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let entries = table.iter()?.map(|stored| {
        let (key, value) = stored?;
        Ok(entry(key.value(), value.value()))
    });
    entries.collect()
}

fn write<'a>(
    database: &redb::Database,
    number: u64,
    changes: impl Iterator<Item = &'a Change>,
) -> Result<(), StoreError> {
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        for change in changes {
            let definition = TableDefinition::<&str, &[u8]>::new(change.table);
            let mut table = transaction.open_table(definition)?;
            match &change.value {
                Some(value) => table.insert(&*change.key, &**value)?,
                None => table.remove(&*change.key)?,
            };
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(TRANSACTION_KEY, &number.to_be_bytes()[..])?;
        drop(meta);
        Ok(transaction.commit()?)
    };
    write().map_err(|error| write_failed(&error))
}

fn number(bytes: Option<&Vec<u8>>) -> Option<u64> {
    Some(u64::from_be_bytes(bytes?.as_slice().try_into().ok()?))
}

/// The database checks its file while it works; a damaged one must not end the emulator.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(StoreError::Read(
            "its file is damaged in a way that the database does not expect".to_owned(),
        ))
    })
}

fn read_failed(error: &redb::Error) -> StoreError {
    StoreError::Read(error.to_string())
}

fn write_failed(error: &redb::Error) -> StoreError {
    match error {
        redb::Error::Io(error) if is_full(error) => StoreError::Full,
        error => StoreError::Write(error.to_string()),
    }
}
