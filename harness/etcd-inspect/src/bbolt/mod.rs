//! A read-only reader of bbolt files: etcd's `member/snap/db` and its snapshots.
//!
//! Nothing in the file is trusted: offsets are checked before they are followed, a page is visited
//! once, keys must ascend. The layout is bbolt's `internal/common` (v1.4.3), little-endian as on
//! every platform that etcd supports. A running etcd writes to its file in place; take a snapshot
//! instead.

use std::collections::HashSet;
use std::fs::File;

use aws_lc_rs::digest::{Context, SHA256};

mod bytes;
mod meta;
mod page;

use bytes::Bytes;
use meta::Meta;
use page::{Page, PageKind};

/// Length of the SHA-256 that `etcdctl snapshot save` appends.
const CHECKSUM_LEN: usize = 32;
/// Databases consist of whole pages and pages are multiples of this, so a remainder of 32 is a
/// checksum (etcdutl decides the same way).
const PAGE_ALIGNMENT: u64 = 512;
/// A deeper tree would have more pages than a 64-bit offset can address.
const MAX_DEPTH: usize = 64;
/// Flag of a leaf element whose value is a bucket.
const BUCKET_ELEMENT: u32 = 1;
/// Length of the bucket header in a value: root page, sequence.
const BUCKET_HEADER: usize = 16;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BboltError {
    /// Neither meta page is valid.
    #[error("not a bbolt database, or not a whole one: {0}")]
    NoMeta(String),
    /// The checksum at the end does not match.
    #[error(
        "the SHA-256 at the end of the snapshot does not match its {0} bytes: the file was changed or cut; take the snapshot again"
    )]
    Checksum(u64),
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Io(String),
    /// A page violates the format.
    #[error("page {page}: {reason}")]
    Page {
        /// Number of the page.
        page: u64,
        /// What is wrong.
        reason: String,
    },
    /// The caller stopped the iteration.
    #[error("stopped")]
    Stopped,
    /// The bucket, which etcd always has, is missing.
    #[error("no bucket {0:?}: a bbolt database, but not etcd's")]
    NoBucket(String),
    /// An entry of a bucket is not what etcd writes.
    #[error("bucket {bucket:?}, entry {entry}: {reason}")]
    Entry {
        /// Name of the bucket.
        bucket: String,
        /// Key of the entry in hex if it is a revision, else its length.
        entry: String,
        /// What is wrong.
        reason: String,
    },
}

/// A database in memory, or read from its file page by page.
pub struct Database {
    bytes: Bytes,
    meta: Meta,
    checksum: Option<Checksum>,
}

/// The SHA-256 at the end of a file.
type Checksum = [u8; CHECKSUM_LEN];

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("bytes", &self.bytes.length())
            .field("transaction", &self.meta.transaction)
            .field("has_checksum", &self.has_checksum())
            .finish_non_exhaustive()
    }
}

/// Root of a bucket's tree.
enum Root {
    Page(u64),
    /// A small bucket: a leaf page inside its value.
    Inline(Page<'static>),
}

impl Database {
    /// Parses a database: verifies the checksum if there is one, and selects the newer valid meta
    /// page.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BboltError> {
        Self::new(Bytes::memory(bytes))
    }

    /// Opens a database file, reading at most one page at a time into memory. Blocks.
    pub fn open(file: File) -> Result<Self, BboltError> {
        Self::new(Bytes::file(file)?)
    }

    /// Opens a file without verifying the checksum, which takes longest. Do not rely on its content
    /// until [`Self::verify_checksum`] succeeds.
    pub fn open_unchecked(file: File) -> Result<Self, BboltError> {
        Self::unchecked(Bytes::file(file)?)
    }

    fn new(bytes: Bytes) -> Result<Self, BboltError> {
        let database = Self::unchecked(bytes)?;
        database.verify_checksum()?;
        Ok(database)
    }

    fn unchecked(mut bytes: Bytes) -> Result<Self, BboltError> {
        let mut checksum = None;
        if bytes.length() % PAGE_ALIGNMENT == CHECKSUM_LEN as u64 {
            let end = bytes.length() - CHECKSUM_LEN as u64;
            checksum = bytes
                .read(end, CHECKSUM_LEN)?
                .and_then(|sum| sum.first_chunk().copied());
            bytes.truncate(end);
        }
        match meta::newest(&bytes) {
            Ok(meta) => Ok(Self {
                bytes,
                meta,
                checksum,
            }),
            // A checksum error explains more than the errors that follow from it.
            Err(error) => Err(check(&bytes, checksum.as_ref()).err().unwrap_or(error)),
        }
    }

    /// Reads the file and verifies the checksum at its end, if there is one. Blocks.
    pub fn verify_checksum(&self) -> Result<(), BboltError> {
        check(&self.bytes, self.checksum.as_ref())
    }

    /// Whether the file ends in a checksum.
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.checksum.is_some()
    }

    /// Names of the top-level buckets.
    pub fn buckets(&self) -> Result<Vec<Vec<u8>>, BboltError> {
        let mut names = Vec::new();
        self.walk(Root::Page(self.meta.root), &mut |flags, key, _| {
            if flags & BUCKET_ELEMENT != 0 {
                names.push(key.to_vec());
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Calls `each` with the keys and values of a top-level bucket, in order. Nested buckets, which
    /// etcd does not have, are skipped.
    pub fn for_each(&self, bucket: &str, each: &mut VisitEntry<'_>) -> Result<(), BboltError> {
        let root = self
            .bucket(bucket)?
            .ok_or_else(|| BboltError::NoBucket(bucket.to_owned()))?;
        self.walk(root, &mut |flags, key, value| {
            if flags & BUCKET_ELEMENT == 0 {
                each(key, value)
            } else {
                Ok(())
            }
        })
    }

    fn bucket(&self, name: &str) -> Result<Option<Root>, BboltError> {
        let mut found = None;
        self.walk(Root::Page(self.meta.root), &mut |flags, key, value| {
            if flags & BUCKET_ELEMENT != 0 && key == name.as_bytes() {
                found = Some(value.to_vec());
            }
            Ok(())
        })?;
        found.map(|value| root(name, &value)).transpose()
    }

    fn page(&self, id: u64) -> Result<Page<'_>, BboltError> {
        Page::read(&self.bytes, id, self.meta.page_size, self.meta.high_water)
    }

    /// Visits all leaf elements below `root` in order.
    fn walk(&self, root: Root, each: &mut Visit<'_>) -> Result<(), BboltError> {
        let page = match root {
            Root::Page(id) => self.page(id)?,
            Root::Inline(page) if page.kind == PageKind::Branch => {
                return Err(page.broken("an inline bucket has no branches"));
            }
            Root::Inline(page) => page,
        };
        let mut walk = Walk {
            database: self,
            visited: HashSet::new(),
            last: Vec::new(),
            each,
        };
        walk.page(&page, 0)
    }
}

fn check(bytes: &Bytes, checksum: Option<&Checksum>) -> Result<(), BboltError> {
    let Some(checksum) = checksum else {
        return Ok(());
    };
    let mut sum = Context::new(&SHA256);
    bytes.for_each_chunk(bytes.length(), |chunk| sum.update(chunk))?;
    if sum.finish().as_ref() == checksum {
        Ok(())
    } else {
        Err(BboltError::Checksum(bytes.length()))
    }
}

fn root(name: &str, value: &[u8]) -> Result<Root, BboltError> {
    let broken = |reason: &str| BboltError::Entry {
        bucket: "(root)".to_owned(),
        entry: name.to_owned(),
        reason: reason.to_owned(),
    };
    let (header, inline) = value
        .split_at_checked(BUCKET_HEADER)
        .ok_or_else(|| broken("its header is cut"))?;
    match page::u64_at(header, 0) {
        Some(0) => Page::inline(inline.to_vec()).map(Root::Inline),
        Some(root) => Ok(Root::Page(root)),
        None => Err(broken("its header is cut")),
    }
}

/// Called with key and value of an entry.
pub type VisitEntry<'f> = dyn FnMut(&[u8], &[u8]) -> Result<(), BboltError> + 'f;
/// Called with flags, key and value of a leaf element.
type Visit<'f> = dyn FnMut(u32, &[u8], &[u8]) -> Result<(), BboltError> + 'f;

struct Walk<'a, 'f, 'v> {
    database: &'a Database,
    visited: HashSet<u64>,
    /// The previous key; keys are never empty.
    last: Vec<u8>,
    each: &'f mut Visit<'v>,
}

impl Walk<'_, '_, '_> {
    fn page(&mut self, page: &Page<'_>, depth: usize) -> Result<(), BboltError> {
        if !self.visited.insert(page.id) {
            return Err(page.broken("is part of the tree twice"));
        }
        if depth > MAX_DEPTH {
            return Err(page.broken(&format!("is more than {MAX_DEPTH} levels deep")));
        }
        match page.kind {
            PageKind::Branch => {
                for child in page.children() {
                    let child = self.database.page(child?)?;
                    self.page(&child, depth + 1)?;
                }
            }
            PageKind::Leaf => {
                for element in page.elements() {
                    let (flags, key, value) = element?;
                    if self.last.as_slice() >= key {
                        return Err(page.broken("its keys are not in order"));
                    }
                    self.last.clear();
                    self.last.extend_from_slice(key);
                    (self.each)(flags, key, value)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
