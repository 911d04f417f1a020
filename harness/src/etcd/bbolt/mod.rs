//! Read-only reader of bbolt files, which is what etcd's `member/snap/db` and its snapshots are.
//!
//! Nothing in the file is trusted: offsets are checked before they are followed, a page is visited once, keys must ascend.
//! The layout is bbolt's `internal/common` (v1.4.3), little-endian as on every platform etcd supports.
//! A running etcd writes to its file in place; take a snapshot of it instead.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};

mod meta;
mod page;

use meta::Meta;
use page::{Kind, Page};

/// Bytes of the SHA-256 that `etcdctl snapshot save` appends.
const CHECKSUM_LEN: usize = 32;
/// A database is whole pages and a page is a multiple of this, so a remainder of 32 tells a checksum (as etcdutl does).
const SECTOR: usize = 512;
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
    Checksum(usize),
    /// A page breaks the format.
    #[error("page {page}: {reason}")]
    Page {
        /// Its number.
        page: u64,
        /// What about it.
        reason: String,
    },
    /// etcd always has this bucket.
    #[error("no bucket {0:?}: a bbolt database, but not etcd's")]
    NoBucket(String),
    /// An entry in a bucket is not what etcd writes there.
    #[error("bucket {bucket:?}, entry {entry}: {reason}")]
    Entry {
        /// The bucket.
        bucket: String,
        /// Its key in hex.
        entry: String,
        /// What about it.
        reason: String,
    },
}

/// A database held in memory.
pub struct Database {
    bytes: Vec<u8>,
    meta: Meta,
    has_checksum: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("bytes", &self.bytes.len())
            .field("transaction", &self.meta.transaction)
            .field("has_checksum", &self.has_checksum)
            .finish_non_exhaustive()
    }
}

/// Where a bucket's tree begins.
enum Root<'a> {
    Page(u64),
    /// A bucket small enough to be one leaf inside the value that names it.
    Inline(Page<'a>),
}

impl Database {
    /// Checks the snapshot's checksum if there is one and picks the newest of the two meta pages that is whole.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self, BboltError> {
        let has_checksum = bytes.len() % SECTOR == CHECKSUM_LEN;
        if has_checksum {
            let database = bytes.len() - CHECKSUM_LEN;
            if digest(&SHA256, &bytes[..database]).as_ref() != &bytes[database..] {
                return Err(BboltError::Checksum(database));
            }
            bytes.truncate(database);
        }
        let meta = meta::newest(&bytes)?;
        Ok(Self { bytes, meta, has_checksum })
    }

    /// Whether the file ended in a checksum (which then was right).
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        self.has_checksum
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

    /// Calls `each` with the keys and values of a top bucket, in order. Buckets within it are left out (etcd has none).
    pub fn for_each<'a>(
        &'a self,
        bucket: &str,
        each: &mut dyn FnMut(&'a [u8], &'a [u8]) -> Result<(), BboltError>,
    ) -> Result<(), BboltError> {
        let root = self.bucket(bucket)?.ok_or_else(|| BboltError::NoBucket(bucket.to_owned()))?;
        self.walk(root, &mut |flags, key, value| if flags & BUCKET_ELEMENT == 0 { each(key, value) } else { Ok(()) })
    }

    fn bucket<'a>(&'a self, name: &str) -> Result<Option<Root<'a>>, BboltError> {
        let mut found = None;
        self.walk(Root::Page(self.meta.root), &mut |flags, key, value| {
            if flags & BUCKET_ELEMENT != 0 && key == name.as_bytes() {
                found = Some(value);
            }
            Ok(())
        })?;
        found.map(|value| self.root(name, value)).transpose()
    }

    fn root<'a>(&'a self, name: &str, value: &'a [u8]) -> Result<Root<'a>, BboltError> {
        let broken = |reason: &str| BboltError::Entry {
            bucket: "(root)".to_owned(),
            entry: name.to_owned(),
            reason: reason.to_owned(),
        };
        let (header, inline) = value.split_at_checked(BUCKET_HEADER).ok_or_else(|| broken("its header is cut"))?;
        match page::u64_at(header, 0) {
            Some(0) => Page::inline(inline).map(Root::Inline),
            Some(root) => Ok(Root::Page(root)),
            None => Err(broken("its header is cut")),
        }
    }

    fn page(&self, id: u64) -> Result<Page<'_>, BboltError> {
        Page::at(&self.bytes, id, self.meta.page_size, self.meta.high_water)
    }

    /// Visits every leaf element below `root`, left to right.
    fn walk<'a>(
        &'a self,
        root: Root<'a>,
        each: &mut dyn FnMut(u32, &'a [u8], &'a [u8]) -> Result<(), BboltError>,
    ) -> Result<(), BboltError> {
        let page = match root {
            Root::Page(id) => self.page(id)?,
            Root::Inline(page) if page.kind == Kind::Branch => {
                return Err(page.broken("an inline bucket has no branches"));
            }
            Root::Inline(page) => page,
        };
        let mut walk = Walk { database: self, visited: HashSet::new(), last: None, each };
        walk.page(&page, 0)
    }
}

struct Walk<'a, 'f> {
    database: &'a Database,
    visited: HashSet<u64>,
    last: Option<&'a [u8]>,
    each: &'f mut dyn FnMut(u32, &'a [u8], &'a [u8]) -> Result<(), BboltError>,
}

impl<'a> Walk<'a, '_> {
    fn page(&mut self, page: &Page<'a>, depth: usize) -> Result<(), BboltError> {
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
                    if self.last.is_some_and(|last| last >= key) {
                        return Err(page.broken("its keys are not in order"));
                    }
                    self.last = Some(key);
                    (self.each)(flags, key, value)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
