//! The bytes of a database: in memory, or in a file that is read on demand.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::BboltError;

/// Chunk size in bytes for reading everything.
const CHUNK_LEN: usize = 1 << 20;

pub(super) enum Bytes {
    Memory(Vec<u8>),
    File { file: File, length: u64 },
}

impl Bytes {
    pub(super) fn memory(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }

    pub(super) fn file(file: File) -> Result<Self, BboltError> {
        let length = file
            .metadata()
            .map_err(|error| BboltError::Io(error.to_string()))?
            .len();
        Ok(Self::File { file, length })
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// Drops the bytes after `end`.
    pub(super) fn truncate(&mut self, end: u64) {
        match self {
            Self::Memory(bytes) => bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX)),
            Self::File { length, .. } => *length = end.min(*length),
        }
    }

    /// Returns `length` bytes at `at`; `None` if they are not all present.
    pub(super) fn read(&self, at: u64, length: usize) -> Result<Option<Cow<'_, [u8]>>, BboltError> {
        let Some(end) = at
            .checked_add(length as u64)
            .filter(|end| *end <= self.length())
        else {
            return Ok(None);
        };
        match self {
            // Within a slice, so within usize.
            Self::Memory(bytes) => Ok(bytes.get(at as usize..end as usize).map(Cow::Borrowed)),
            Self::File { file, .. } => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, at)
                    .map_err(|error| BboltError::Io(error.to_string()))?;
                Ok(Some(Cow::Owned(bytes)))
            }
        }
    }

    /// Calls `take` with all bytes before `end`, chunk by chunk.
    pub(super) fn for_each_chunk(
        &self,
        end: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), BboltError> {
        let mut at = 0;
        while at < end {
            let length = usize::try_from(end - at)
                .unwrap_or(CHUNK_LEN)
                .min(CHUNK_LEN);
            let Some(piece) = self.read(at, length)? else {
                return Ok(());
            };
            take(&piece);
            at += length as u64;
        }
        Ok(())
    }
}
