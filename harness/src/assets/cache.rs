//! kmslab's own place for programs: one directory per pinned set, complete or not there.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::{KUBERNETES, Tool, is_program, release};

/// The pinned modules, as they are written for the build.
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

/// The cache of this user, `$XDG_CACHE_HOME/kmslab` or `~/.cache/kmslab`, or another directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The one that the environment says.
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

    /// One in `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where everything is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the pinned programs. Its name changes with the pins, so that another kmslab
    /// keeps its own.
    pub fn bin(&self) -> PathBuf {
        self.root
            .join("assets")
            .join(format!("{KUBERNETES}-{}", short_hash(&[GO_MOD, GO_SUM])))
    }

    /// The directory of what a node image for kind is made of.
    pub fn node(&self) -> PathBuf {
        let pins = PINS.map(|(_, content)| content);
        self.root
            .join("assets")
            .join(format!("node-{KUBERNETES}-{}", short_hash(&pins)))
    }

    /// The file of a node image, as an engine saved it: Docker does not load what Podman saves
    /// under the same name, nor always at all.
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

    /// The directory of the programs of the official release.
    pub(super) fn release(&self) -> PathBuf {
        self.root
            .join("assets")
            .join(format!("release-{}", release::VERSION))
    }

    /// A program in either: what was built has all of them.
    pub(super) fn find(&self, tool: Tool) -> Option<PathBuf> {
        [self.bin(), self.release()]
            .into_iter()
            .map(|dir| dir.join(tool.file()))
            .find(|path| is_program(path))
    }

    /// The right to fill the cache, of one process at a time; `waits` is called if another has it.
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

/// Twelve hexadecimal digits that change with any of the texts.
pub(super) fn short_hash(texts: &[&str]) -> String {
    let hash = digest(&SHA256, texts.concat().as_bytes());
    hex::encode(&hash.as_ref()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_fills_the_cache_and_the_next_waits() {
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
    fn the_pins_name_the_version_that_the_code_does() {
        assert!(GO_MOD.contains(&format!("k8s.io/kubernetes {KUBERNETES}")));
    }
}
