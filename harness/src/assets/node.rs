//! A node image for kind if `kindest/node` is not available: built once by the recipe in
//! `kind-config/image/`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::{Assets, Cache, KUBERNETES, Progress, Tool, build, cache};
use crate::engine::{Engine, VARIABLES};
use crate::exit::environment;
use crate::process::{Program, shell_quote, tail};

/// The image for the pinned Kubernetes' minor version in the release notes of the pinned kind.
pub const KINDEST: &str =
    "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed";

/// The recipe in `kind-config/image/`.
const RECIPE: [(&str, &str); 4] = [
    ("build", include_str!("../../../kind-config/image/build")),
    (
        "Dockerfile",
        include_str!("../../../kind-config/image/Dockerfile"),
    ),
    (
        "default-cni.yaml",
        include_str!("../../../kind-config/image/default-cni.yaml"),
    ),
    (
        "10-kmslab.conflist",
        include_str!("../../../kind-config/image/10-kmslab.conflist"),
    ),
];
/// Disk space that the build takes at most: components, Debian's tree, layers, and the image in two
/// forms.
const REQUIRED_BYTES: u64 = 6 << 30;

/// `kmslab-node:v1.36.3-<hash>`; the hash depends on everything in the image.
pub fn tag() -> String {
    let all: Vec<&str> = cache::PINS
        .iter()
        .chain(&RECIPE)
        .map(|(_, content)| *content)
        .collect();
    format!("kmslab-node:{KUBERNETES}-{}", cache::short_hash(&all))
}

impl Assets {
    /// The image's content: a directory with Kubernetes' components, etcd's programs and kind's own
    /// files.
    pub async fn node_parts(&self, progress: &dyn Progress) -> anyhow::Result<PathBuf> {
        let _lock = self.lock(progress).await?;
        let parts = self.cache.node();
        if !parts.exists() {
            // Not the user's programs: the image is the same on every machine.
            if Tool::ALL
                .iter()
                .any(|tool| !self.cache.bin().join(tool.file()).exists())
            {
                build::tools(&self.cache, self.options.offline, progress).await?;
            }
            build::node_parts(&self.cache, self.options.offline, progress).await?;
        }
        Ok(parts)
    }

    /// Provides the node image in the engine: the given one, else `kindest/node` or ours if
    /// present, else `kindest/node` if it can be pulled, else ours, built.
    pub async fn node_image(
        &self,
        engine: &Engine,
        given: Option<&str>,
        progress: &dyn Progress,
    ) -> anyhow::Result<String> {
        if let Some(given) = given {
            if !engine.has_image(given).await? {
                self.pull(engine, given, progress).await?;
            }
            return Ok(given.to_owned());
        }
        if engine.has_image(KINDEST).await? {
            return Ok(KINDEST.to_owned());
        }
        if !self.options.offline
            && !engine.has_image(&tag()).await?
            && !self.cache.node_image(&tag(), engine.name()).exists()
        {
            match self.pull(engine, KINDEST, progress).await {
                Ok(()) => return Ok(KINDEST.to_owned()),
                Err(why) => progress.message(&format!("{why:#}; building a node image instead")),
            }
        }
        self.own_node_image(engine, progress).await
    }

    async fn pull(
        &self,
        engine: &Engine,
        image: &str,
        progress: &dyn Progress,
    ) -> anyhow::Result<()> {
        if self.options.offline {
            return Err(environment(format!(
                "the node image {image} is not on this machine, and --offline fetches nothing: pull it, or name one that is"
            )));
        }
        progress.message(&format!(
            "pulling the node image {image}: about 400 MB, once"
        ));
        engine
            .run(&["pull", "--quiet", &engine.full_name(image)])
            .await
            .map(drop)
    }

    /// Provides our image in the engine: already there, loaded from the cache, or built.
    pub async fn own_node_image(
        &self,
        engine: &Engine,
        progress: &dyn Progress,
    ) -> anyhow::Result<String> {
        let tag = tag();
        if engine.has_image(&tag).await? {
            return Ok(tag);
        }
        let saved = self.cache.node_image(&tag, engine.name());
        if !saved.exists() {
            ensure_buildable(&self.cache)?;
            let parts = self.node_parts(progress).await?;
            let _lock = self.lock(progress).await?;
            if !saved.exists() {
                self.build_image(engine, &parts, &tag, &saved, progress)
                    .await?;
            }
        }
        if !engine.has_image(&tag).await? {
            ensure_programs(&["zstd"], "loading the node image")?;
            progress.message(&format!("loading the node image {tag}"));
            let script = format!(
                "set -o pipefail; zstd -q -d -c {} | {} load",
                shell(&saved),
                shell(engine.program())
            );
            self.shell("node-load", &script, progress)
                .await
                .map_err(|error| invalid_image(&saved, &error))?;
        }
        Ok(tag)
    }

    async fn build_image(
        &self,
        engine: &Engine,
        parts: &Path,
        tag: &str,
        saved: &Path,
        progress: &dyn Progress,
    ) -> anyhow::Result<()> {
        let work = self.cache.root().join("assets/node-work");
        let recipe = work.join("recipe");
        write_recipe(&recipe).with_context(|| format!("cannot write {}", recipe.display()))?;
        progress.message(&format!(
            "building the node image {tag}: once, 2 to 8 minutes on 2 cores"
        ));
        let new = saved.with_added_extension("new");
        let script = format!(
            "set -eu -o pipefail; KMSLAB_ENGINE={} {} {} {} {tag}; {} save {tag} | zstd -q -T0 -3 -f -o {}; mv {} {}",
            shell(engine.program()),
            shell(&recipe.join("build")),
            shell(parts),
            shell(&work),
            shell(engine.program()),
            shell(&new),
            shell(&new),
            shell(saved)
        );
        self.shell("node-build", &script, progress).await
    }

    /// Runs a bash script and reports its lines that begin with `== `.
    async fn shell(&self, name: &str, script: &str, progress: &dyn Progress) -> anyhow::Result<()> {
        let log = self.cache.root().join("assets").join(format!("{name}.log"));
        let _ = std::fs::remove_file(&log);
        let mut program = Program::new(name, "/bin/bash", &log).args(["-c", script]);
        for variable in VARIABLES.into_iter().chain([
            "KMSLAB_DEBIAN_MIRROR",
            "http_proxy",
            "https_proxy",
            "no_proxy",
        ]) {
            if let Some(value) = std::env::var_os(variable) {
                program = program.env(variable, value);
            }
        }
        let child = program.spawn()?;
        let (mut told, mut tick) = (0, tokio::time::interval(Duration::from_millis(200)));
        let status = loop {
            tokio::select! {
                ended = child.wait() => break ended?,
                _ = tick.tick() => {}
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let steps: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("== "))
                .collect();
            for step in &steps[told..] {
                progress.message(step);
            }
            told = steps.len();
        };
        if status.success() {
            return Ok(());
        }
        Err(environment(format!(
            "{name} failed; its log {} ends with:\n{}",
            log.display(),
            tail(&log, 0, 20)
        )))
    }
}

fn shell(path: &Path) -> String {
    shell_quote(&path.display().to_string())
}

/// The remedy for a saved image that is invalid, as after the disk was full.
fn invalid_image(saved: &Path, error: &anyhow::Error) -> anyhow::Error {
    let saved = saved.display();
    environment(format!(
        "the node image in {saved} can't be loaded: {error:#}\nwhere that file is broken, `rm {saved}` and run this again: it is built again"
    ))
}

/// Fails early if the image cannot be built here.
fn ensure_buildable(cache: &Cache) -> anyhow::Result<()> {
    ensure_programs(
        &["debootstrap", "zstd"],
        "kindest/node cannot be pulled, and building a node image",
    )?;
    if !rustix::process::geteuid().is_root() {
        return Err(environment(
            "kindest/node is not available, and debootstrap, which makes a node image's root file system, needs root: run \
             `sudo kmslab assets node` once, or give an image that is on this machine with --node-image",
        ));
    }
    std::fs::create_dir_all(cache.root().join("assets")).map_err(|error| {
        environment(format!(
            "cannot use the cache {}: {error}",
            cache.root().display()
        ))
    })?;
    let found = rustix::fs::statvfs(cache.root()).context("asking for the room in the cache")?;
    let left = found.f_bavail.saturating_mul(found.f_frsize);
    if left < REQUIRED_BYTES {
        return Err(environment(format!(
            "{} has {} GiB left, and building a node image takes up to {}: free some, or set XDG_CACHE_HOME",
            cache.root().display(),
            left >> 30,
            REQUIRED_BYTES >> 30
        )));
    }
    Ok(())
}

/// Fails if PATH lacks a program whose package has its name.
fn ensure_programs(programs: &[&str], what: &str) -> anyhow::Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|name| !is_there(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" ");
    Err(environment(format!(
        "{what} needs {missing}: `sudo apt-get install {missing}`; or give an image that is on this machine with --node-image"
    )))
}

fn write_recipe(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for (name, content) in RECIPE {
        std::fs::write(dir.join(name), content)?;
    }
    std::fs::set_permissions(dir.join("build"), std::fs::Permissions::from_mode(0o755))
}
