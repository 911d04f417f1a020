//! Reading files named by a user, with a limit on their size.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Maximum size in bytes of a configuration, key or certificate file.
pub const MAX_CONFIGURATION_BYTES: u64 = 16 * 1024 * 1024;

/// Fails unless the path is a regular file: opening a pipe waits for a writer, and a device may be
/// endless.
pub fn ensure_regular_file(path: &Path) -> io::Result<()> {
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

/// Reads a file; the bytes are zeroized on drop. Fails if it is not a regular file (such as a pipe
/// or a device) or is larger than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    ensure_regular_file(path)?;
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

/// Reads a file as UTF-8; the text is zeroized on drop. Fails as [`read`] does, or if the file is
/// not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<Zeroizing<String>> {
    let bytes = read(path, most)?;
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_files_are_rejected_without_blocking() {
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
        // A sparse file: terabytes in size, nothing on disk.
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
