//! A page: header, elements of 16 bytes, then the keys and values that they point to.

use std::borrow::Cow;

use super::BboltError;
use super::bytes::Bytes;

const HEADER: usize = 16;
const ELEMENT: usize = 16;
/// Maximum length in bytes of a page with its overflow pages. Overflow is for single large values,
/// and etcd accepts requests of 1.5 MiB (`--max-request-bytes`).
const MAX_PAGE_LEN: usize = 256 << 20;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;

/// The two kinds of pages that form a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Branch,
    Leaf,
}

#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) id: u64,
    pub(super) kind: PageKind,
    count: usize,
    /// The page with its overflow pages and header.
    bytes: Cow<'a, [u8]>,
}

type Element<'a> = (u32, &'a [u8], &'a [u8]);

impl<'a> Page<'a> {
    /// Reads page `id`; `high_water` is the first page number that was never used.
    pub(super) fn read(
        file: &'a Bytes,
        id: u64,
        page_size: usize,
        high_water: u64,
    ) -> Result<Self, BboltError> {
        let broken = |reason: String| BboltError::Page { page: id, reason };
        let outside = || broken(format!("is not in the file of {} bytes", file.length()));
        if id >= high_water {
            return Err(broken(format!("is above the high-water mark {high_water}")));
        }
        let start = id.checked_mul(page_size as u64).ok_or_else(outside)?;
        let first = file.read(start, page_size)?.ok_or_else(outside)?;
        let overflow = u32_at(&first, 12).ok_or_else(outside)?;
        if overflow == 0 {
            return Self::new(id, first);
        }
        let length = (overflow as usize)
            .checked_add(1)
            .and_then(|pages| pages.checked_mul(page_size));
        let length = length.ok_or_else(outside)?;
        if length > MAX_PAGE_LEN {
            return Err(broken(format!(
                "has {length} bytes, and one of more than {MAX_PAGE_LEN} is not read"
            )));
        }
        let bytes = file.read(start, length)?.ok_or_else(outside)?;
        Self::new(id, bytes)
    }

    /// The page of an inline bucket, which has no page number.
    pub(super) fn inline(bytes: Vec<u8>) -> Result<Self, BboltError> {
        Self::new(0, Cow::Owned(bytes))
    }

    fn new(id: u64, bytes: Cow<'a, [u8]>) -> Result<Self, BboltError> {
        let broken = |reason: String| BboltError::Page { page: id, reason };
        let (Some(own), Some(flags), Some(count)) =
            (u64_at(&bytes, 0), u16_at(&bytes, 8), u16_at(&bytes, 10))
        else {
            return Err(broken("its header is cut".to_owned()));
        };
        if own != id {
            return Err(broken(format!("calls itself page {own}")));
        }
        let kind = match flags {
            BRANCH => PageKind::Branch,
            LEAF => PageKind::Leaf,
            other => {
                return Err(broken(format!(
                    "has flags {other:#x}, a tree has branches (0x1) and leaves (0x2)"
                )));
            }
        };
        Ok(Self {
            id,
            kind,
            count: count.into(),
            bytes,
        })
    }

    pub(super) fn broken(&self, reason: &str) -> BboltError {
        BboltError::Page {
            page: self.id,
            reason: reason.to_owned(),
        }
    }

    /// Page numbers of a branch's children.
    pub(super) fn children(&self) -> impl Iterator<Item = Result<u64, BboltError>> + use<'_, 'a> {
        (0..self.count).map(|index| {
            u64_at(&self.bytes, HEADER + index * ELEMENT + 8)
                .ok_or_else(|| self.broken("its elements are cut"))
        })
    }

    /// Flags, key and value of a leaf's elements. bbolt writes them consecutively, so none may
    /// overlap; this also keeps the output of a small malicious file below its own size.
    pub(super) fn elements(
        &self,
    ) -> impl Iterator<Item = Result<Element<'_>, BboltError>> + use<'_, 'a> {
        let mut free = HEADER + self.count * ELEMENT;
        (0..self.count).map(move |index| {
            let at = HEADER + index * ELEMENT;
            let (element, start) = self
                .element(at)
                .ok_or_else(|| self.broken("an element points outside of it"))?;
            if start < free {
                return Err(self.broken("its elements overlap"));
            }
            free = start + element.1.len() + element.2.len();
            if element.1.is_empty() {
                return Err(self.broken("has an empty key"));
            }
            Ok(element)
        })
    }

    fn element(&self, at: usize) -> Option<(Element<'_>, usize)> {
        let flags = u32_at(&self.bytes, at)?;
        let start = at.checked_add(u32_at(&self.bytes, at + 4)? as usize)?;
        let middle = start.checked_add(u32_at(&self.bytes, at + 8)? as usize)?;
        let end = middle.checked_add(u32_at(&self.bytes, at + 12)? as usize)?;
        Some((
            (
                flags,
                self.bytes.get(start..middle)?,
                self.bytes.get(middle..end)?,
            ),
            start,
        ))
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}
