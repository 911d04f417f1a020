//! The programs of real clusters: kube-apiserver, etcd, kubectl and their like. Found where a person has them, else built once.
//!
//! Looked for in this order, all of a set in one place, never in PATH: variables that name them ([`given`]); kmslab's cache
//! ([`cache`]); else built with Go from the modules pinned in `harness/pins/` ([`build`]) into that cache.

mod build;
mod cache;
mod given;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use build::{Progress, Quiet};
pub use cache::Cache;

use crate::exit::environment;

/// The Kubernetes version that is pinned.
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
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::KubeApiserver, Self::Etcd, Self::Kubectl, Self::Etcdctl, Self::Etcdutl, Self::Kind];

    /// The name of its file.
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

/// Where a program came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A variable named it.
    Variable,
    /// It was in kmslab's cache.
    Cache,
    /// It was built just now.
    Built,
}

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Which.
    pub tool: Tool,
    /// Where.
    pub path: PathBuf,
    /// How it came there.
    pub source: Source,
}

/// Programs that are there, with nothing built or fetched; `None` for one that is not.
pub fn look(tools: &[Tool], cache: &Cache) -> anyhow::Result<Vec<(Tool, Option<Found>)>> {
    tools.iter().map(|tool| Ok((*tool, find(*tool, cache)?))).collect()
}

fn find(tool: Tool, cache: &Cache) -> anyhow::Result<Option<Found>> {
    if let Some(path) = given::find(tool, &|name| std::env::var_os(name))? {
        return Ok(Some(Found { tool, path, source: Source::Variable }));
    }
    Ok(cache.find(tool).map(|path| Found { tool, path, source: Source::Cache }))
}

/// The programs, built where they are not there. `progress` hears what takes long.
pub async fn install(tools: &[Tool], cache: &Cache, progress: &dyn Progress) -> anyhow::Result<Vec<Found>> {
    let looked = look(tools, cache)?;
    if let Some(all) = looked.iter().map(|(_, found)| found.clone()).collect::<Option<Vec<_>>>() {
        return Ok(all);
    }
    build::all(cache, progress).await?;
    let found = looked.into_iter().map(|(tool, found)| match found {
        Some(found) => Ok(found),
        None => {
            let path = cache.find(tool).ok_or_else(|| missing(tool, cache))?;
            Ok(Found { tool, path, source: Source::Built })
        }
    });
    found.collect()
}

fn missing(tool: Tool, cache: &Cache) -> anyhow::Error {
    environment(format!(
        "{} is not in {} after the build: remove that directory and run it again",
        tool.file(),
        cache.bin().display()
    ))
}

/// Whether `path` is a file that may be run.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
