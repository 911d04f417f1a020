//! Power losses at each write and sync of a recorded workload.
//!
//! The device keeps everything that it is told in order. After a power loss it has what was there at
//! the last sync, and of the later writes any part: each 512 bytes of them or not.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::{Change, Database as _, FileDatabase, MasterKey, StoreError};

const SECTOR: usize = 512;
const TABLES: [&str; 3] = ["aws/keys", "azure/vaults", "gcp/rings"];

type State = BTreeMap<(&'static str, String), Vec<u8>>;

#[derive(Debug, Clone)]
enum Operation {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// A device in memory that records what it is told.
#[derive(Debug, Clone, Default)]
struct Device(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    /// A device that does not tell the truth about its syncs.
    ignores_sync: bool,
}

impl Device {
    fn holding(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Content {
            bytes,
            ..Content::default()
        })))
    }

    fn database(&self, master: &MasterKey) -> Result<FileDatabase, StoreError> {
        let device = self.clone();
        let open = move |builder: &redb::Builder| builder.create_with_backend(device.clone());
        FileDatabase::with_device(Path::new("device"), master.clone(), Box::new(open))
    }

    fn operations(&self) -> usize {
        self.0.lock().unwrap().operations.len()
    }
}

fn apply(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write(offset, data) => {
            let start = usize::try_from(*offset).unwrap();
            if bytes.len() < start + data.len() {
                bytes.resize(start + data.len(), 0);
            }
            bytes[start..start + data.len()].copy_from_slice(data);
        }
        Operation::SetLen(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
        Operation::Sync => {}
    }
}

impl StorageBackend for Device {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&content.bytes[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().record(Operation::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        if !content.ignores_sync {
            content.record(Operation::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let operation = Operation::Write(offset, data.to_vec());
        self.0.lock().unwrap().record(operation);
        Ok(())
    }
}

impl Content {
    fn record(&mut self, operation: Operation) {
        apply(&mut self.bytes, &operation);
        self.operations.push(operation);
    }
}

/// A commit: the state after it, and how much the device had been told when it began and returned.
struct Commit {
    state: State,
    began: usize,
    returned: usize,
}

/// Changes of one to three records, of all sizes, some of them removals.
fn changes(random: &mut fastrand::Rng) -> Vec<Change> {
    let count = random.usize(1..=3);
    let change = |random: &mut fastrand::Rng| Change {
        table: TABLES[random.usize(..TABLES.len())],
        key: format!("key-{}", random.u32(..12)),
        value: random.bool().then(|| {
            let length = random.usize(1..=6000);
            std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect()
        }),
    };
    (0..count).map(|_| change(random)).collect()
}

/// Records a workload. The first commit is the new database.
fn record(
    device: &Device,
    master: &MasterKey,
    random: &mut fastrand::Rng,
    count: usize,
) -> Vec<Commit> {
    let database = device.database(master).unwrap();
    let mut commits = vec![Commit {
        state: State::new(),
        began: 0,
        returned: device.operations(),
    }];
    for _ in 0..count {
        let changes = changes(random);
        let mut state = commits.last().unwrap().state.clone();
        for change in changes.clone() {
            match change.value {
                Some(value) => drop(state.insert((change.table, change.key), value)),
                None => drop(state.remove(&(change.table, change.key))),
            }
        }
        let began = device.operations();
        database.commit(changes).unwrap();
        commits.push(Commit {
            state,
            began,
            returned: device.operations(),
        });
    }
    commits
}

/// What the device has after it lost power when it had been told `cut` operations.
fn after_power_loss(operations: &[Operation], cut: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let told = &operations[..cut];
    let is_sync = |operation: &Operation| matches!(operation, Operation::Sync);
    let synced = told.iter().rposition(is_sync).map_or(0, |at| at + 1);
    let mut bytes = Vec::new();
    told[..synced]
        .iter()
        .for_each(|operation| apply(&mut bytes, operation));
    for operation in &told[synced..] {
        match operation {
            Operation::Write(offset, data) => {
                for (at, sector) in (*offset..).step_by(SECTOR).zip(data.chunks(SECTOR)) {
                    if random.bool() {
                        apply(&mut bytes, &Operation::Write(at, sector.to_vec()));
                    }
                }
            }
            // Of its length the device knows at least what its content needs.
            Operation::SetLen(length) if *length > bytes.len() as u64 && random.bool() => {
                apply(&mut bytes, operation);
            }
            _ => {}
        }
    }
    bytes
}

fn state(database: &FileDatabase) -> Result<State, StoreError> {
    let mut state = State::new();
    for table in TABLES {
        let records = database.load(table)?;
        state.extend(
            records
                .into_iter()
                .map(|record| ((table, record.key), record.value)),
        );
    }
    Ok(state)
}

/// Cuts the power at each operation and returns the cuts after which the database is not what it was
/// after a commit that had returned, or one that had begun.
fn violations(seed: u64, count: usize, ignores_sync: bool) -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let master = MasterKey::random().unwrap();
    let device = Device::default();
    device.0.lock().unwrap().ignores_sync = ignores_sync;
    let commits = record(&device, &master, &mut random, count);
    let operations = device.0.lock().unwrap().operations.clone();
    let mut violations = Vec::new();
    for cut in 0..=operations.len() {
        let bytes = after_power_loss(&operations, cut, &mut random);
        let acknowledged = commits.iter().rposition(|commit| commit.returned <= cut);
        let begun = commits
            .iter()
            .rposition(|commit| commit.began <= cut)
            .unwrap_or(0);
        let possible = &commits[acknowledged.unwrap_or(0)..=begun];
        let found = Device::holding(bytes)
            .database(&master)
            .and_then(|database| state(&database));
        match found {
            Ok(found) if possible.iter().any(|commit| commit.state == found) => {}
            Ok(_) => violations.push(format!("cut {cut}: another state")),
            // Before it was created, the file is whatever it is.
            Err(_) if acknowledged.is_none() => {}
            Err(error) => violations.push(format!("cut {cut}: {error}")),
        }
    }
    assert!(
        operations.len() > 3 * count,
        "{} operations",
        operations.len()
    );
    violations
}

#[test]
fn acknowledged_changes_survive_a_power_loss_at_any_write_or_sync() {
    let violations = violations(7, 60, false);
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn a_device_that_ignores_syncs_is_noticed() {
    let violations = violations(7, 60, true);
    assert!(!violations.is_empty());
}
