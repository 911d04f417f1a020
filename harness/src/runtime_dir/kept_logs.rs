//! Logs of failed labs, kept where the next start does not sweep them.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Maximum number of labs whose logs are kept. Logs of a lab with kube-apiserver take 1 to 10 MB.
const MAX_KEPT_LOGS: usize = 20;

/// Copies the files in `logs` to a new directory for `name` below `state`, which is returned.
pub(super) fn keep(logs: &Path, state: &Path, name: &str) -> io::Result<PathBuf> {
    let files: Vec<PathBuf> = std::fs::read_dir(logs)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    if files.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no log in {}", logs.display()),
        ));
    }
    let root = state.join("logs");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&root)?;
    let target = new_dir(&root, name)?;
    for file in files {
        if let Some(name) = file.file_name() {
            std::fs::copy(&file, target.join(name))?;
        }
    }
    remove_oldest(&root)?;
    Ok(target)
}

/// `<name>`, else `<name>.2` and so on.
fn new_dir(root: &Path, name: &str) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let target = root.join(if number == 1 {
            name.to_owned()
        } else {
            format!("{name}.{number}")
        });
        match std::fs::DirBuilder::new().mode(0o700).create(&target) {
            Ok(()) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn remove_oldest(root: &Path) -> io::Result<()> {
    let mut kept: Vec<_> = std::fs::read_dir(root)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort();
    for (_, path) in &kept[..kept.len().saturating_sub(MAX_KEPT_LOGS)] {
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}
