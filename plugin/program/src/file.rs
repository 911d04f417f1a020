//! Files that somebody names: read whole, unless they are none or have no end.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes of a configuration, a key or certificates: far more than any has.
pub const CONFIGURATION: u64 = 16 * 1024 * 1024;

/// Refuses what is no regular file: opening a pipe waits for somebody who writes, and a device may
/// have no end.
pub fn check(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory"
    } else {
        "a pipe or a device"
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what} and no file"),
    ))
}

/// The file's bytes, wiped when dropped. What is no regular file (a pipe without a writer, a device
/// without an end) or has more than `most` bytes is an error that says so.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    check(path)?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(length.min(most).min(1 << 26)).unwrap_or_default(),
    ));
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        assert_eq!(*read(&at("file"), 5).unwrap(), b"12345");
        assert!(
            read(&at("file"), 4)
                .unwrap_err()
                .to_string()
                .contains("more than 4 bytes")
        );
        // A file with a hole: terabytes on no disk.
        File::create(at("sparse"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        assert!(
            read(&at("sparse"), 1000)
                .unwrap_err()
                .to_string()
                .contains("more than 1000 bytes")
        );
        assert!(
            std::process::Command::new("mkfifo")
                .arg(at("pipe"))
                .status()
                .unwrap()
                .success()
        );
        for endless in [at("pipe"), "/dev/zero".into(), dir.path().to_owned()] {
            assert!(
                read(&endless, 1000)
                    .unwrap_err()
                    .to_string()
                    .contains("and no file"),
                "{}",
                endless.display()
            );
        }
        assert_eq!(
            read(&at("none"), 1).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
