//! Atomic writes: to a temporary file in the same directory, which is then renamed.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Replaces `path` by `content` with these permissions, and waits for the disk. After an error the
/// previous file is unchanged.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let file = write_temporary(path, content, mode)?;
    file.as_file().sync_all()?;
    persist(file, path)?;
    sync_parent_dir(path)
}

/// Fails where [`write`] would fail to create its temporary file.
pub(crate) fn ensure_writable(path: &Path) -> io::Result<()> {
    write_temporary(path, &[], 0o600).map(drop)
}

/// The same for a file that is of no use after this process: without waiting for the disk.
pub(crate) fn write_volatile(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    persist(write_temporary(path, content, mode)?, path)
}

/// Writes the content to a temporary file next to `path`.
fn write_temporary(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kmslab-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = builder.tempfile_in(parent_dir(path))?;
    file.write_all(content)?;
    Ok(file)
}

fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn parent_dir(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Syncs the directory entry of the new name.
fn sync_parent_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(parent_dir(path))?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn write_replaces_a_file_atomically_with_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"first", 0o644).unwrap();
        write(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        write_volatile(&path, b"third", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_write_keeps_the_previous_content() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&dir.path().join("missing/key"), b"x", 0o600).is_err());
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("inside"), b"kept").unwrap();
        assert!(write(&taken, b"x", 0o600).is_err());
        assert_eq!(fs::read(taken.join("inside")).unwrap(), b"kept");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }
}
