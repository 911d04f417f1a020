//! The official release of test binaries, as setup-envtest downloads it: one archive per platform,
//! checked against a pinned SHA-512.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;

use super::{Cache, Progress, Tool, is_program, platform};
use crate::exit::environment;

/// The release whose archives are pinned. It contains etcd 3.6.8, as in `harness/pins/`.
pub(super) const VERSION: &str = "v1.36.2";
/// Programs in its archives, below `controller-tools/envtest/`.
pub(super) const TOOLS: [Tool; 3] = [Tool::KubeApiserver, Tool::Etcd, Tool::Kubectl];

const RELEASES: &str = "https://github.com/kubernetes-sigs/controller-tools/releases/download";
/// URL of a mirror with the same layout. Its archives are checked as well.
const MIRROR_VARIABLE: &str = "KMSLAB_ASSETS_MIRROR";
/// SHA-512 in base64 by platform, from controller-tools' `envtest-releases.yaml`.
const PINNED: [(&str, &str, &str); 3] = [
    (
        "linux",
        "amd64",
        "6nQxhsinmfXPj68Wlp+GGJ0APLfRMOCsS1h4nx5XSNzzDr6RyDehDVrEFTg9o+ELnmTWV4XJOMI+c5eBz7dvCA==",
    ),
    (
        "linux",
        "arm64",
        "LXLumFqOJio8V9yffw/Ykfaox79+uqLbbcbY6siuKBga/lHB82i2d1bNtAsQ3psgVgnhcm5fJ/fG2CTdnGZJrA==",
    ),
    (
        "darwin",
        "arm64",
        "knj55a9Vay8fLROXacHw1xfHtEJpF/3r26iYvLclqRbkkQ1hYIhhlP+b6Viep8XDLCuK4HVHA4dLfIuo3fxBzg==",
    ),
];

/// Without a network this fails at once, and the programs are built instead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// An archive and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) url: String,
    pub(super) sha512: Vec<u8>,
}

/// Why the release cannot be used.
#[derive(Debug)]
pub(super) enum ReleaseError {
    /// It cannot be downloaded; another way may be tried.
    Unreachable(String),
    /// The archive is not the published one, or cannot be stored; do not continue.
    Bad(anyhow::Error),
}

impl Release {
    /// The release for this platform, if one is pinned.
    pub(super) fn from_env() -> Option<Self> {
        let (os, arch) = platform()?;
        let (.., sha512) = PINNED
            .iter()
            .find(|(its_os, its_arch, _)| (*its_os, *its_arch) == (os, arch))?;
        let mirror = std::env::var(MIRROR_VARIABLE)
            .ok()
            .filter(|url| !url.is_empty());
        let root = mirror.as_deref().unwrap_or(RELEASES).trim_end_matches('/');
        let url = format!("{root}/envtest-{VERSION}/envtest-{VERSION}-{os}-{arch}.tar.gz");
        Some(Self {
            url,
            sha512: STANDARD.decode(sha512).ok()?,
        })
    }

    /// Downloads, checks and unpacks it into the cache; the caller holds the cache's lock.
    pub(super) async fn fetch(
        &self,
        cache: &Cache,
        progress: &dyn Progress,
    ) -> Result<(), ReleaseError> {
        let bad = |error: io::Error| {
            ReleaseError::Bad(environment(format!(
                "cannot write into the cache {}: {error}",
                cache.root().display()
            )))
        };
        let mut archive = tempfile::tempfile_in(cache.root().join("assets")).map_err(bad)?;
        progress.message(&format!(
            "fetching kube-apiserver, etcd and kubectl {VERSION} from {}",
            self.url
        ));
        let hash = self.download(&mut archive, progress).await?;
        if hash != self.sha512 {
            return Err(ReleaseError::Bad(environment(format!(
                "{} is not what was published: its SHA-512 is {}, and {} is pinned. Nothing of it was kept. Something on the way \
                 alters downloads; `kmslab assets install --build` builds the programs from checked modules instead",
                self.url,
                hex::encode(hash),
                hex::encode(&self.sha512)
            ))));
        }
        archive.rewind().map_err(bad)?;
        let target = cache.release();
        tokio::task::spawn_blocking(move || unpack(archive, &target))
            .await
            .map_err(|error| bad(io::Error::other(error)))?
            .map_err(bad)
    }

    /// Streams the archive to `into` and returns its SHA-512.
    async fn download(
        &self,
        into: &mut File,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, ReleaseError> {
        let unreachable = |error: reqwest::Error| {
            let mut text = error.without_url().to_string();
            if text.is_empty() {
                text = "no answer".into();
            }
            ReleaseError::Unreachable(text)
        };
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let answer = client
            .map_err(unreachable)?
            .get(&self.url)
            .send()
            .await
            .map_err(unreachable)?;
        let mut answer = answer.error_for_status().map_err(unreachable)?;
        let length = answer.content_length().unwrap_or_default();
        let (mut hash, mut done) = (Context::new(&SHA512), 0_u64);
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            hash.update(&chunk);
            into.write_all(&chunk).map_err(|error| {
                ReleaseError::Bad(environment(format!("writing the download: {error}")))
            })?;
            done += chunk.len() as u64;
            progress.step(done >> 20, length >> 20, "MiB fetched");
        }
        Ok(hash.finish().as_ref().to_vec())
    }
}

/// Extracts the three programs, all or none, into `target`.
fn unpack(archive: impl Read, target: &Path) -> io::Result<()> {
    let parent = target.parent().unwrap_or(target);
    let partial = tempfile::Builder::new()
        .prefix("release-")
        .tempdir_in(parent)?;
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.into_owned();
        // By name, to our own paths: links, owners and directories in the archive are ignored.
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let Some(tool) = TOOLS
            .into_iter()
            .find(|tool| tool.file() == name && entry.header().entry_type().is_file())
        else {
            continue;
        };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(partial.path().join(tool.file()))?;
        io::copy(&mut entry, &mut file)?;
    }
    if let Some(missing) = TOOLS
        .into_iter()
        .find(|tool| !is_program(&partial.path().join(tool.file())))
    {
        return Err(io::Error::other(format!(
            "the archive has no {}",
            missing.file()
        )));
    }
    let _ = std::fs::remove_dir_all(target);
    std::fs::rename(partial.keep(), target)
}

#[cfg(test)]
mod tests;
