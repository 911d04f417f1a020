//! Builds all programs from the pinned modules with one `go build`. Go checks every module against
//! go.sum, and resumes interrupted builds from its own cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::{Cache, KUBERNETES, cache};
use crate::exit::environment;
use crate::process::Program;

/// Approximate number of packages of a build, for the progress bar.
const APPROXIMATE_PACKAGES: u64 = 2100;
/// The same for a node's components, which share about two thirds of their packages with the
/// programs.
const APPROXIMATE_NODE_PACKAGES: u64 = 1200;
/// Variables of Go, and of what is between Go and its module proxy.
const GO_VARIABLES: &[&str] = &[
    "GOPROXY",
    "GONOPROXY",
    "GOPRIVATE",
    "GOSUMDB",
    "GONOSUMDB",
    "GOMODCACHE",
    "GOCACHE",
    "GOPATH",
    "GOROOT",
    "GOTOOLCHAIN",
    "GOMAXPROCS",
    "GOINSECURE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
];

/// Reports the progress of a build.
pub trait Progress: Send + Sync {
    /// Prints a message.
    fn message(&self, line: &str);
    /// Reports that `done` of about `of` are done: packages compiled, MiB fetched.
    fn step(&self, done: u64, of: u64, what: &'static str);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn message(&self, _: &str) {}
    fn step(&self, _: u64, _: u64, _: &'static str) {}
}

/// A run of `go build`.
struct BuildJob {
    /// What it builds, and how long that takes.
    description: String,
    /// Packages of the pinned module, or `tool` for every `tool` line of its go.mod.
    packages: &'static [&'static str],
    /// Approximate number of packages that it compiles.
    count: u64,
    /// Directory of its programs; complete or absent.
    target: PathBuf,
}

/// Builds the programs into the cache, whose lock the caller holds. With `offline`, only from
/// modules on this machine.
pub(super) async fn tools(
    cache: &Cache,
    offline: bool,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let says = format!(
        "building kube-apiserver, etcd and their clients {KUBERNETES} from Go modules: once, 5 to 15 minutes on 2 cores"
    );
    let job = BuildJob {
        description: says,
        packages: &["tool"],
        count: APPROXIMATE_PACKAGES,
        target: cache.bin(),
    };
    build(&job, cache, offline, progress, async |_, partial| {
        // etcd's main package is named after its directory.
        std::fs::rename(partial.join("server"), partial.join("etcd"))
            .context("the build made no etcd")
    })
    .await
}

/// Builds the content of a node image for kind: Kubernetes' components, kind's own files and etcd's
/// programs.
pub(super) async fn node_parts(
    cache: &Cache,
    offline: bool,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let says = format!(
        "building the Kubernetes components of a node {KUBERNETES} from Go modules: once, 4 to 15 minutes on 2 cores"
    );
    let job = BuildJob {
        description: says,
        packages: &["./hyperkube", "./pause"],
        count: APPROXIMATE_NODE_PACKAGES,
        target: cache.node(),
    };
    build(&job, cache, offline, progress, async |work, partial| {
        let files = module_dir(work, "sigs.k8s.io/kind")
            .await?
            .join("images/base/files");
        copy_dir(&files, &partial.join("kind-files"))
            .with_context(|| format!("copying {}", files.display()))?;
        for name in ["etcd", "etcdctl", "etcdutl"] {
            std::fs::copy(cache.bin().join(name), partial.join(name))
                .with_context(|| format!("copying {name}"))?;
        }
        Ok(())
    })
    .await
}

/// Runs a job, completes its result with `finish`, and only then moves it to its target.
async fn build(
    job: &BuildJob,
    cache: &Cache,
    offline: bool,
    progress: &dyn Progress,
    finish: impl AsyncFnOnce(&Path, &Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let root = cache.root().display();
    let go = go()?;
    let (work, partial) = (
        cache.root().join("assets/build"),
        job.target.with_added_extension("partial"),
    );
    prepare(&work, &partial).with_context(|| format!("cannot write into the cache {root}"))?;
    progress.message(&format!(
        "{}; log {}",
        job.description,
        work.join("log").display()
    ));
    let finished = run(
        &program(&go, job, &work, &partial, offline),
        job.count,
        progress,
    )
    .await?;
    if let Err(why) = finished {
        let log = work.join("log");
        let tail = crate::process::tail(&log, 0, 12);
        return Err(environment(format!(
            "go build {why}; its log {} ends with:\n{tail}\nRun it again to resume; without a network, name the programs by \
             KUBEBUILDER_ASSETS{}",
            log.display(),
            if offline {
                ", or leave out --offline once"
            } else {
                ""
            }
        )));
    }
    finish(&work, &partial).await?;
    let _ = std::fs::remove_dir_all(&job.target);
    std::fs::rename(&partial, &job.target)
        .with_context(|| format!("cannot move the programs to {}", job.target.display()))?;
    let _ = std::fs::remove_dir_all(&work);
    Ok(())
}

/// Directory of a module of the build, which Go has checked against go.sum.
async fn module_dir(work: &Path, module: &str) -> anyhow::Result<PathBuf> {
    let output = tokio::process::Command::new(go()?)
        .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module])
        .current_dir(work)
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .output()
        .await
        .context("running go list")?;
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && dir.is_dir() {
        return Ok(dir);
    }
    Err(environment(format!(
        "go list {module}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Copies a directory tree and makes it writable, which Go's cache is not.
fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            let mode = std::fs::metadata(&target)?.permissions().mode();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode | 0o200))?;
        }
    }
    Ok(())
}

/// The Go command in PATH.
fn go() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("go"))
        .find(|go| super::is_program(go));
    found.ok_or_else(|| {
        environment(
            "kube-apiserver and etcd are not installed, and Go, which builds them, is missing: install Go 1.26 or later, or set \
             KUBEBUILDER_ASSETS to a directory with both",
        )
    })
}

fn prepare(work: &Path, partial: &Path) -> std::io::Result<()> {
    for dir in [work, partial] {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
    }
    for (name, content) in cache::PINS {
        let path = work.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(work))?;
        std::fs::write(path, content)?;
    }
    Ok(())
}

fn program(go: &Path, job: &BuildJob, work: &Path, partial: &Path, offline: bool) -> Program {
    let inherited = GO_VARIABLES
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut program = Program::new("go build", go, work.join("log"))
        .arg("-C")
        .arg(work)
        .args([
            "build",
            "-v",
            "-trimpath",
            "-ldflags",
            &linker_flags(),
            "-o",
        ])
        .arg(format!("{}/", partial.display()))
        .args(job.packages.iter().copied());
    for (name, value) in inherited {
        program = program.env(name, value);
    }
    if offline {
        // After the inherited variables, which they replace.
        program = program
            .env("GOPROXY", "off")
            .env("GOVCS", "*:off")
            .env("GOTOOLCHAIN", "local");
    }
    program
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
}

/// Stripped, and with the version that a release reports.
fn linker_flags() -> String {
    let mut numbers = KUBERNETES.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let mut flags = String::from("-s -w");
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", KUBERNETES),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

/// Runs a command; each line of its log is a package. The inner error says how it failed.
async fn run(
    program: &Program,
    packages: u64,
    progress: &dyn Progress,
) -> anyhow::Result<Result<(), String>> {
    let child = program.spawn()?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            ended = child.wait() => {
                let status = ended?;
                return Ok(if status.success() { Ok(()) } else { Err(format!("failed ({status})")) });
            }
            _ = tick.tick() => {
                let log = std::fs::read(child.log()).unwrap_or_default();
                let lines = log.iter().filter(|byte| **byte == b'\n').count() as u64;
                progress.step(lines, packages, "packages compiled");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_programs_report_a_release_version() {
        let flags = linker_flags();
        assert!(
            flags.contains("-X k8s.io/component-base/version.gitVersion=v1.36.3"),
            "{flags}"
        );
        assert!(
            flags.contains("-X k8s.io/client-go/pkg/version.gitMinor=36"),
            "{flags}"
        );
    }
}
