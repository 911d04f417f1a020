//! Rows that wait for the end of the input: whether a value is stale is known when the newest was
//! read, and columns are as wide as their widest cell. Rows are kept in an unnamed temporary file,
//! so that memory does not grow with them and nothing is left behind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};

/// Bytes of rows in memory before they are written to the file.
const MAX_BUFFERED_BYTES: usize = 8 << 20;

/// A row with its position and its output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    /// The etcd key, by which rows are sorted.
    pub(super) key: String,
    /// Revision, for rows of the same key.
    pub(super) revision: i64,
    /// Its class in the tally.
    pub(super) class: u32,
    pub(super) text: String,
}

/// Takes rows in any order and returns them sorted or in the order of arrival.
#[derive(Debug)]
pub(super) struct Spool {
    sorted: bool,
    most: usize,
    waiting: Vec<Record>,
    bytes: usize,
    runs: Vec<File>,
}

impl Spool {
    /// With `in_memory` no row is written to a file.
    pub(super) fn new(sorted: bool, in_memory: bool) -> Self {
        let most = if in_memory {
            usize::MAX
        } else {
            MAX_BUFFERED_BYTES
        };
        Self {
            sorted,
            most,
            waiting: Vec::new(),
            bytes: 0,
            runs: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, record: Record) -> io::Result<()> {
        self.bytes += record.key.len() + record.text.len() + size_of::<Record>();
        self.waiting.push(record);
        if self.bytes >= self.most {
            self.write_out()
        } else {
            Ok(())
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.sorted {
            self.waiting.sort_unstable();
        }
        // Unsorted rows form one run, however often they are written.
        let mut file = match self.runs.pop_if(|_| !self.sorted) {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let mut writer = BufWriter::new(&mut file);
        for record in self.waiting.drain(..) {
            write_record(&mut writer, &record)?;
        }
        writer.flush()?;
        drop(writer);
        self.runs.push(file);
        self.bytes = 0;
        Ok(())
    }

    /// Calls `each` with every row. May be called repeatedly.
    pub(super) fn read(
        &mut self,
        each: &mut dyn FnMut(Record) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.runs.is_empty() {
            if self.sorted {
                self.waiting.sort_unstable();
            }
            return self.waiting.iter().cloned().try_for_each(each);
        }
        if !self.waiting.is_empty() {
            self.write_out()?;
        }
        let mut runs = Vec::with_capacity(self.runs.len());
        for file in &mut self.runs {
            file.seek(SeekFrom::Start(0))?;
            runs.push(BufReader::new(&*file));
        }
        let mut next = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            next.extend(read_record(run)?.map(|record| Reverse((record, number))));
        }
        while let Some(Reverse((record, number))) = next.pop() {
            each(record)?;
            next.extend(read_record(&mut runs[number])?.map(|record| Reverse((record, number))));
        }
        Ok(())
    }
}

fn write_record(to: &mut impl io::Write, record: &Record) -> io::Result<()> {
    let length =
        |text: &str| u32::try_from(text.len()).map_err(|_| io::Error::other("a row of 4 GiB"));
    to.write_all(&length(&record.key)?.to_ne_bytes())?;
    to.write_all(&length(&record.text)?.to_ne_bytes())?;
    to.write_all(&record.revision.to_ne_bytes())?;
    to.write_all(&record.class.to_ne_bytes())?;
    to.write_all(record.key.as_bytes())?;
    to.write_all(record.text.as_bytes())
}

fn read_record(from: &mut impl Read) -> io::Result<Option<Record>> {
    let mut head = [0; 20];
    // The input may end only between rows.
    if from.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..])?;
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let revision = i64::from_ne_bytes([
        head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
    ]);
    let mut text = |length: u32| {
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    };
    let (key_length, text_length, class) = (word(0), word(4), word(16));
    Ok(Some(Record {
        key: text(key_length)?,
        text: text(text_length)?,
        revision,
        class,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> Record {
        // Spread out, and long enough for several runs.
        let scattered = number.wrapping_mul(7919) % 10_007;
        Record {
            key: format!("/registry/{scattered:05}"),
            revision: 3,
            class: 7,
            text: format!("{number}{}", "x".repeat(3000)),
        }
    }

    fn read(spool: &mut Spool) -> Vec<Record> {
        let mut all = Vec::new();
        spool
            .read(&mut |record| {
                all.push(record);
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn rows_are_returned_sorted_or_in_arrival_order() {
        for count in [0, 1, 100, 10_007] {
            let rows: Vec<Record> = (0..count).map(record).collect();
            for sorted in [false, true] {
                let mut spool = Spool::new(sorted, false);
                rows.iter()
                    .cloned()
                    .try_for_each(|row| spool.push(row))
                    .unwrap();
                let mut expected = rows.clone();
                if sorted {
                    expected.sort();
                }
                assert_eq!(spool.runs.is_empty(), count < 10_000, "it is in memory");
                assert!(
                    read(&mut spool) == expected && read(&mut spool) == expected,
                    "{count} rows, sorted: {sorted}"
                );
            }
        }
    }
}
