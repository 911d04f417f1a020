//! The two meta pages. bbolt writes them alternately at the end of a transaction, so the newest
//! intact one is current.

use super::BboltError;
use super::bytes::Bytes;
use super::page::{META, u16_at, u32_at, u64_at};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Offset of the fields, after the page header.
const FIELDS_OFFSET: usize = 16;
/// Number of bytes that the checksum covers.
const CHECKSUMMED_LEN: usize = 56;
/// bbolt's range of page sizes if the first meta page is broken: 1 KiB to 16 MiB, as exponents of
/// 2.
const PAGE_SIZE_EXPONENTS: std::ops::RangeInclusive<u32> = 10..=24;

/// The fields of a meta page that the reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_size: usize,
    /// Page number of the root bucket.
    pub(super) root: u64,
    /// First page number that was never used.
    pub(super) high_water: u64,
    /// Id of the transaction that wrote it.
    pub(super) transaction: u64,
}

/// Returns the valid meta page of the newest transaction.
pub(super) fn newest(file: &Bytes) -> Result<Meta, BboltError> {
    let first = read(file, 0);
    let second = match &first {
        Ok(meta) => read(file, meta.page_size),
        // The page size is in the first meta page; without it, try each possible place of the
        // second.
        Err(_) => PAGE_SIZE_EXPONENTS
            .map(|bits| 1usize << bits)
            .find_map(|size| read(file, size).ok().filter(|meta| meta.page_size == size))
            .ok_or_else(|| "not found at any page size".to_owned()),
    };
    match (first, second) {
        (Ok(a), Ok(b)) if b.page_size == a.page_size && b.transaction > a.transaction => Ok(b),
        (Ok(meta), _) | (Err(_), Ok(meta)) => Ok(meta),
        (Err(a), Err(b)) => Err(BboltError::NoMeta(format!(
            "meta page 0: {a}; meta page 1: {b}"
        ))),
    }
}

fn read(file: &Bytes, at: usize) -> Result<Meta, String> {
    let page = file
        .read(at as u64, FIELDS_OFFSET + CHECKSUMMED_LEN + 8)
        .map_err(|error| error.to_string())?;
    let page = page.ok_or("the file ends before it")?;
    let fields = &page[FIELDS_OFFSET..];
    let flags = u16_at(&page, 8).unwrap_or_default();
    let word = |at| u32_at(fields, at).unwrap_or_default();
    let long = |at| u64_at(fields, at).unwrap_or_default();
    if flags != META || word(0) != MAGIC {
        return Err("has no bbolt magic number".to_owned());
    }
    if word(4) != VERSION {
        return Err(format!(
            "is format version {}, this reads {VERSION}",
            word(4)
        ));
    }
    if long(CHECKSUMMED_LEN) != fnv1a(&fields[..CHECKSUMMED_LEN]) {
        return Err("its checksum does not match".to_owned());
    }
    let page_size = word(8) as usize;
    if !page_size.is_power_of_two() || page_size < 1 << PAGE_SIZE_EXPONENTS.start() {
        return Err(format!("has page size {page_size}"));
    }
    Ok(Meta {
        page_size,
        root: long(16),
        high_water: long(40),
        transaction: long(48),
    })
}

/// 64-bit FNV-1a, as in Go's `hash/fnv`.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
