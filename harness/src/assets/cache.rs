//! kmslab's cache of programs: one directory per pinned set, complete or absent.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::{KUBERNETES, Tool, is_program, release};

/// The go.mod of the build.
pub(super) const GO_MOD: &str = include_str!("../../pins/go.mod");
pub(super) const GO_SUM: &str = include_str!("../../pins/go.sum");
/// All files of the pinned module.
pub(super) const PINS: [(&str, &str); 4] = [
    ("go.mod", GO_MOD),
    ("go.sum", GO_SUM),
    (
        "hyperkube/main.go",
        include_str!("../../pins/hyperkube/main.go"),
    ),
    ("pause/main.go", include_str!("../../pins/pause/main.go")),
];

/// The user's cache, `$XDG_CACHE_HOME/kmslab` or `~/.cache/kmslab`, or another directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache that the environment selects.
    pub fn from_env() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Self {
            root: cache.unwrap_or_else(|| "/tmp".into()).join("kmslab"),
        }
    }

    /// A cache in `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of the pinned programs. Its name depends on the pins, so that versions of kmslab
    /// do not interfere.
    pub fn bin(&self) -> PathBuf {
        self.root
            .join("assets")
            .join(format!("{KUBERNETES}-{}", short_hash(&[GO_MOD, GO_SUM])))
    }

    /// Directory of the content of a node image for kind.
    pub fn node(&self) -> PathBuf {
        let pins = PINS.map(|(_, content)| content);
        self.root
            .join("assets")
            .join(format!("node-{KUBERNETES}-{}", short_hash(&pins)))
    }

    /// File of a saved node image, per engine: Docker does not load all images that Podman saves.
    pub fn node_image(&self, tag: &str, engine: &str) -> PathBuf {
        let engine = if engine == "docker" {
            String::new()
        } else {
            format!(".{engine}")
        };
        self.root
            .join("assets")
            .join(format!("{}{engine}.tar.zst", tag.replace(':', "-")))
    }

    /// Directory of the programs of the official release.
    pub(super) fn release(&self) -> PathBuf {
        self.root
            .join("assets")
            .join(format!("release-{}", release::VERSION))
    }

    /// Finds a program in either directory; a build has all of them.
    pub(super) fn find(&self, tool: Tool) -> Option<PathBuf> {
        [self.bin(), self.release()]
            .into_iter()
            .map(|dir| dir.join(tool.file()))
            .find(|path| is_program(path))
    }

    /// Locks the cache for filling; calls `waits` if another process holds the lock.
    pub(super) async fn lock(&self, waits: impl FnOnce()) -> io::Result<File> {
        std::fs::create_dir_all(self.root.join("assets"))?;
        let path = self.root.join("assets/.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                waits();
                tokio::task::spawn_blocking(move || file.lock().map(|()| file))
                    .await
                    .map_err(io::Error::other)?
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Twelve hexadecimal digits that depend on all texts.
pub(super) fn short_hash(texts: &[&str]) -> String {
    let hash = digest(&SHA256, texts.concat().as_bytes());
    hex::encode(&hash.as_ref()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cache_lock_is_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let first = cache.lock(|| panic!("nobody has it")).await.unwrap();
        let (sender, waits) = tokio::sync::oneshot::channel();
        let second =
            tokio::spawn(async move { cache.lock(|| sender.send(()).unwrap()).await.map(drop) });
        waits.await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }

    #[test]
    fn pinned_versions_match_the_code() {
        assert!(GO_MOD.contains(&format!("k8s.io/kubernetes {KUBERNETES}")));
    }
}
