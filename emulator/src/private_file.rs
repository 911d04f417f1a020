//! Files that are there whole or not at all: written under a temporary name beside the final one,
//! synced, renamed.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes `content` to `path` with these permissions, instead of what was there. After an error the
/// earlier file is as it was.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    written(path, content, mode)?
        .persist(path)
        .map_err(|error| error.error)?;
    sync_dir_of(path)
}

/// The same, where there is no file yet; `AlreadyExists` otherwise.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    written(path, content, mode)?
        .persist_noclobber(path)
        .map_err(|error| error.error)?;
    sync_dir_of(path)
}

/// The content beside `path`, on the disk.
fn written(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kmslab-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = builder.tempfile_in(dir_of(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn dir_of(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// The new name is in the directory, which has a cache of its own.
fn sync_dir_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir_of(path))?.sync_all()
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
    fn a_file_is_replaced_whole_with_its_permissions_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"first", 0o644).unwrap();
        write(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            write_new(&path, b"third", 0o600).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_earlier_content() {
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
