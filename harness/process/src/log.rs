//! The end of a log, for error messages.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Number of bytes that are read for the last lines.
const MAX_TAIL_BYTES: u64 = 64 * 1024;
/// Maximum length of a line; Go programs print whole configurations in one.
const MAX_LINE_LEN: usize = 600;

/// The last `lines` lines of the file that were written after offset `from`; empty if there is no
/// such file.
pub fn tail(path: &Path, from: u64, lines: usize) -> String {
    let Ok(bytes) = window(path, from) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter()
        .map(|line| cut(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn window(path: &Path, from: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        from.max(end.saturating_sub(MAX_TAIL_BYTES)).min(end),
    ))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn cut(line: &str) -> String {
    if line.chars().count() <= MAX_LINE_LEN {
        line.into()
    } else {
        line.chars().take(MAX_LINE_LEN).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_shows_last_lines_of_the_last_run() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::write(&log, "old\none\n\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 4, 2), "two\nthree");
        assert_eq!(tail(&log, 4, 9), "one\ntwo\nthree");
        assert_eq!(tail(&log, 999, 9), "");
        assert_eq!(tail(&dir.path().join("none"), 0, 9), "");
        std::fs::write(&log, "é".repeat(MAX_TAIL_BYTES as usize)).unwrap();
        assert_eq!(tail(&log, 0, 1).chars().count(), MAX_LINE_LEN + 1);
    }
}
