//! Read-only reader of bbolt files, which is what etcd's `member/snap/db` and its snapshots are.
//!
//! Nothing in the file is trusted: offsets are checked before they are followed, a page is visited
//! once, keys must ascend. The layout is bbolt's `internal/common` (v1.4.3), little-endian as on
//! every platform etcd supports. A running etcd writes to its file in place; take a snapshot of it
//! instead.

use std::collections::HashSet;
use std::fs::File;

use aws_lc_rs::digest::{Context, SHA256};

mod bytes;
mod meta;
mod page;

use bytes::Bytes;
use meta::Meta;
use page::{Kind, Page};

/// Bytes of the SHA-256 that `etcdctl snapshot save` appends.
const CHECKSUM_LEN: usize = 32;
/// A database is whole pages and a page is a multiple of this, so a remainder of 32 tells a
/// checksum (as etcdutl does).
const SECTOR: u64 = 512;
/// A tree this deep would hold more pages than a 64-bit offset can reach.
const MAX_DEPTH: usize = 64;
/// Flag of a leaf element whose value is a bucket.
const BUCKET_ELEMENT: u32 = 1;
/// Bucket header in a value: root page, sequence.
const BUCKET_HEADER: usize = 16;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BboltError {
    /// Neither meta page is usable.
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
    /// A page breaks the format.
    #[error("page {page}: {reason}")]
    Page {
        /// Its number.
        page: u64,
        /// What about it.
        reason: String,
    },
    /// Whoever reads it wants no more.
    #[error("stopped")]
    Stopped,
    /// etcd always has this bucket.
    #[error("no bucket {0:?}: a bbolt database, but not etcd's")]
    NoBucket(String),
    /// An entry in a bucket is not what etcd writes there.
    #[error("bucket {bucket:?}, entry {entry}: {reason}")]
    Entry {
        /// The bucket.
        bucket: String,
        /// Its key in hex, where that is a revision, or how long it is.
        entry: String,
        /// What about it.
        reason: String,
    },
}

/// A database, in memory or read from its file page by page.
pub struct Database {
    bytes: Bytes,
    meta: Meta,
    checksum: Option<Checksum>,
}

/// What a file says is the SHA-256 of all before it.
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

/// Where a bucket's tree begins.
enum Root {
    Page(u64),
    /// A bucket small enough to be one leaf inside the value that names it.
    Inline(Page<'static>),
}

impl Database {
    /// Checks the snapshot's checksum if there is one and picks the newest of the two meta pages
    /// that is whole.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BboltError> {
        Self::new(Bytes::memory(bytes))
    }

    /// The same of a file, of which no more than a page is in memory at a time. Blocks.
    pub fn open(file: File) -> Result<Self, BboltError> {
        Self::new(Bytes::file(file)?)
    }

    /// The same without the checksum, which is the longer part: what is read from it counts once
    /// [`Self::check`] has passed.
    pub fn open_unchecked(file: File) -> Result<Self, BboltError> {
        Self::unchecked(Bytes::file(file)?)
    }

    fn new(bytes: Bytes) -> Result<Self, BboltError> {
        let database = Self::unchecked(bytes)?;
        database.check()?;
        Ok(database)
    }

    fn unchecked(mut bytes: Bytes) -> Result<Self, BboltError> {
        let mut checksum = None;
        if bytes.length() % SECTOR == CHECKSUM_LEN as u64 {
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
            // That it was changed or cut says more.
            Err(error) => Err(check(&bytes, checksum.as_ref()).err().unwrap_or(error)),
        }
    }

    /// Reads all and compares it with the checksum at the end, where there is one. Blocks.
    pub fn check(&self) -> Result<(), BboltError> {
        check(&self.bytes, self.checksum.as_ref())
    }

    /// Whether the file ends in a checksum.
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.checksum.is_some()
    }

    /// Names of the buckets at the top.
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

    /// Calls `each` with the keys and values of a top bucket, in order. Buckets within it are left
    /// out (etcd has none).
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
        Page::at(&self.bytes, id, self.meta.page_size, self.meta.high_water)
    }

    /// Visits every leaf element below `root`, left to right.
    fn walk(&self, root: Root, each: &mut Visit<'_>) -> Result<(), BboltError> {
        let page = match root {
            Root::Page(id) => self.page(id)?,
            Root::Inline(page) if page.kind == Kind::Branch => {
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
    bytes.each(bytes.length(), |chunk| sum.update(chunk))?;
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

/// Takes key and value of an entry.
pub type VisitEntry<'f> = dyn FnMut(&[u8], &[u8]) -> Result<(), BboltError> + 'f;
/// Takes flags, key and value of a leaf's element.
type Visit<'f> = dyn FnMut(u32, &[u8], &[u8]) -> Result<(), BboltError> + 'f;

struct Walk<'a, 'f, 'v> {
    database: &'a Database,
    visited: HashSet<u64>,
    /// The key before; keys are never empty.
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
            Kind::Branch => {
                for child in page.children() {
                    let child = self.database.page(child?)?;
                    self.page(&child, depth + 1)?;
                }
            }
            Kind::Leaf => {
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
