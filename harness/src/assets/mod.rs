//! Programs of real clusters: kube-apiserver, etcd, kubectl and others. Found on this machine, or
//! installed once.
//!
//! Searched in this order, never in PATH: the directory of `--assets`; variables that name them
//! (`user_programs`); kmslab's cache (`cache`); the store of setup-envtest (`store`). Installed
//! into the cache in this order: the official release, checked against a pinned hash (`release`); a
//! build with Go from the modules pinned in `harness/pins/` (`build`).

mod build;
mod cache;
pub mod node;
mod release;
pub(crate) mod requirements;
mod store;
mod user_programs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use build::{NoProgress, Progress};
pub use cache::Cache;

use crate::exit::environment;
use release::Release;

/// The pinned Kubernetes version.
pub const KUBERNETES: &str = "v1.36.3";

/// A program of a real cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Tool {
    /// The API server.
    KubeApiserver,
    /// Its store.
    Etcd,
    /// A client of the API server.
    Kubectl,
    /// A client of etcd.
    Etcdctl,
    /// Works on etcd's files.
    Etcdutl,
    /// Clusters in containers.
    Kind,
}

impl Tool {
    /// All programs.
    pub const ALL: [Self; 6] = [
        Self::KubeApiserver,
        Self::Etcd,
        Self::Kubectl,
        Self::Etcdctl,
        Self::Etcdutl,
        Self::Kind,
    ];

    /// File name.
    pub fn file(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::Etcd => "etcd",
            Self::Kubectl => "kubectl",
            Self::Etcdctl => "etcdctl",
            Self::Etcdutl => "etcdutl",
            Self::Kind => "kind",
        }
    }
}

/// Where a program was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In the directory of `--assets`.
    Flag,
    /// By a variable.
    Variable,
    /// In kmslab's cache.
    Cache,
    /// In setup-envtest's store.
    EnvtestStore,
    /// Downloaded by this call.
    Release,
    /// Built by this call.
    Built,
}

/// An installed program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundTool {
    /// The program.
    pub tool: Tool,
    /// Its path.
    pub path: PathBuf,
    /// Where it was found.
    pub source: Source,
}

/// Where programs are searched, and how they may be installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Use kube-apiserver, etcd and their clients from this directory
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,
    /// Download nothing: missing programs are an error
    #[arg(long)]
    pub offline: bool,
}

/// Finds the programs of real clusters, and installs missing ones.
#[derive(Debug, Clone)]
pub struct Assets {
    options: Options,
    variable: fn(&str) -> Option<OsString>,
    cache: Cache,
    store: Option<PathBuf>,
    release: Option<Release>,
}

impl Assets {
    /// Uses the places that the environment selects.
    pub fn from_env(options: &Options) -> Self {
        Self {
            options: options.clone(),
            variable: |name| std::env::var_os(name),
            cache: Cache::from_env(),
            store: store::default_root(),
            release: Release::from_env(),
        }
    }

    /// Builds missing programs instead of downloading a release.
    #[must_use]
    pub fn always_build(mut self) -> Self {
        self.release = None;
        self
    }

    /// Finds installed programs, without building or downloading; `None` for missing ones.
    pub fn find_installed(&self, tools: &[Tool]) -> anyhow::Result<Vec<(Tool, Option<FoundTool>)>> {
        tools
            .iter()
            .map(|tool| Ok((*tool, self.find(*tool)?)))
            .collect()
    }

    fn find(&self, tool: Tool) -> anyhow::Result<Option<FoundTool>> {
        let found = |source| move |path| FoundTool { tool, path, source };
        if let Some(dir) = &self.options.assets
            && let Some(path) = user_programs::in_directory(tool, dir)?
        {
            return Ok(Some(found(Source::Flag)(path)));
        }
        if let Some(path) = user_programs::find(tool, &self.variable)? {
            return Ok(Some(found(Source::Variable)(path)));
        }
        let cached = self.cache.find(tool).map(found(Source::Cache));
        Ok(cached
            .or_else(|| store::find(self.store.as_deref()?, tool).map(found(Source::EnvtestStore))))
    }

    /// Finds programs, downloading or building missing ones. `progress` reports what takes long.
    pub async fn install(
        &self,
        tools: &[Tool],
        progress: &dyn Progress,
    ) -> anyhow::Result<Vec<FoundTool>> {
        let looked = self.find_installed(tools)?;
        let missing: Vec<Tool> = looked
            .iter()
            .filter(|(_, found)| found.is_none())
            .map(|(tool, _)| *tool)
            .collect();
        if missing.is_empty() {
            return Ok(looked.into_iter().filter_map(|(_, found)| found).collect());
        }
        let source = self.fill_cache(&missing, progress).await?;
        let found = looked.into_iter().map(|(tool, found)| match found {
            Some(found) => Ok(found),
            None => {
                let path = self
                    .cache
                    .find(tool)
                    .ok_or_else(|| missing_after_install(tool, &self.cache))?;
                Ok(FoundTool { tool, path, source })
            }
        });
        found.collect()
    }

    /// Locks the cache for filling.
    async fn lock(&self, progress: &dyn Progress) -> anyhow::Result<std::fs::File> {
        let waits = || progress.message("waiting for another kmslab, which is filling the cache");
        let root = self.cache.root().display();
        self.cache
            .lock(waits)
            .await
            .map_err(|error| environment(format!("cannot use the cache {root}: {error}")))
    }

    /// Fills the cache with at least these programs, unless another process has done so meanwhile.
    async fn fill_cache(
        &self,
        missing: &[Tool],
        progress: &dyn Progress,
    ) -> anyhow::Result<Source> {
        let _lock = self.lock(progress).await?;
        if missing.iter().all(|tool| self.cache.find(*tool).is_some()) {
            return Ok(Source::Cache);
        }
        if let Some(release) = self.release.as_ref().filter(|_| !self.options.offline)
            && missing.iter().all(|tool| release::TOOLS.contains(tool))
        {
            match release.fetch(&self.cache, progress).await {
                Ok(()) => return Ok(Source::Release),
                Err(release::ReleaseError::Bad(error)) => return Err(error),
                Err(release::ReleaseError::Unreachable(why)) => {
                    progress.message(&format!(
                        "the release can't be fetched ({why}); building it instead"
                    ));
                }
            }
        }
        build::tools(&self.cache, self.options.offline, progress).await?;
        Ok(Source::Built)
    }
}

fn missing_after_install(tool: Tool, cache: &Cache) -> anyhow::Error {
    environment(format!(
        "{} is not in {} after the build: remove that directory and run it again",
        tool.file(),
        cache.bin().display()
    ))
}

/// Operating system and architecture of this machine, in Go's names.
fn platform() -> Option<(&'static str, &'static str)> {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        "linux" => "linux",
        _ => return None,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some((os, arch))
}

/// Whether `path` is an executable file.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Creates an executable file with its directories.
    pub(super) fn program(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn assets(root: &Path) -> Assets {
        let cache = Cache::at(root.join("cache"));
        Assets {
            options: Options::default(),
            variable: |_| None,
            cache,
            store: Some(root.join("store")),
            release: None,
        }
    }

    #[test]
    fn assets_flag_precedes_cache_and_cache_precedes_store() {
        let dir = tempfile::tempdir().unwrap();
        let mut assets = assets(dir.path());
        let source = |assets: &Assets, tool| assets.find(tool).unwrap().map(|found| found.source);
        assert_eq!(source(&assets, Tool::Etcd), None);
        let (os, arch) = platform().unwrap();
        program(&dir.path().join(format!("store/1.36.0-{os}-{arch}/etcd")));
        assert_eq!(source(&assets, Tool::Etcd), Some(Source::EnvtestStore));
        program(&assets.cache.release().join("etcd"));
        assert_eq!(source(&assets, Tool::Etcd), Some(Source::Cache));
        program(&assets.cache.bin().join("etcd"));
        assert_eq!(
            assets.find(Tool::Etcd).unwrap().unwrap().path,
            assets.cache.bin().join("etcd")
        );

        assets.options.assets = Some(dir.path().join("mine"));
        let error = assets.find(Tool::Etcd).unwrap_err();
        assert!(error.to_string().contains("--assets"), "{error}");
        assert_eq!(crate::exit::code(&error), 3);
        program(&dir.path().join("mine/etcd"));
        assert_eq!(source(&assets, Tool::Etcd), Some(Source::Flag));
        assert_eq!(source(&assets, Tool::Kubectl), None);
    }
}
