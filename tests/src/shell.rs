//! Scripts as people type them: kmslab and other tools' clients in PATH, an empty home directory,
//! no credentials.

use std::path::{Path, PathBuf};
use std::process::Command;

use kmslab::assets::{Assets, Options, Tool};

use crate::binaries;

/// A shell in an empty directory.
#[derive(Debug)]
pub struct Shell {
    home: tempfile::TempDir,
    path: Vec<PathBuf>,
}

impl Shell {
    /// With these clients and the clouds' CLIs that `tests/run` installed; if a person runs a
    /// single test, those in PATH.
    pub fn new(tools: &[Tool]) -> Self {
        let found = Assets::from_env(&Options::default())
            .find_installed(tools)
            .expect("assets can be looked for");
        let dirs = found.into_iter().map(|(tool, found)| {
            let found =
                found.unwrap_or_else(|| panic!("no {}: kmslab assets install", tool.file()));
            found
                .path
                .parent()
                .expect("a program is in a directory")
                .to_owned()
        });
        let mut path: Vec<PathBuf> = std::iter::once(binaries()).chain(dirs).collect();
        for clis in ["KMSLAB_AWS_CLI", "KMSLAB_AZURE_CLI"] {
            path.extend(std::env::var_os(clis).map(PathBuf::from));
        }
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        // Short, because unix sockets are below it.
        let home = tempfile::Builder::new()
            .prefix("k")
            .tempdir_in("/tmp")
            .expect("a directory in /tmp");
        Self { home, path }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Runs a bash script and returns its output; a failing command fails the test.
    pub fn run(&self, script: &str) -> String {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.dir())
            .env(
                "PATH",
                std::env::join_paths(&self.path).expect("directories without a colon"),
            )
            .env("HOME", self.dir())
            .env("XDG_CACHE_HOME", cache())
            .env("XDG_RUNTIME_DIR", self.dir())
            .env("XDG_STATE_HOME", self.dir().join("state"));
        without_clouds(&mut command);
        command.env("AWS_PAGER", "");
        let output = command.output().expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{printed}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }
}

/// Removes cloud and proxy variables of this shell from a command's environment.
pub fn without_clouds(command: &mut Command) {
    for (name, _) in std::env::vars() {
        let cloud = ["AWS_", "AZURE_", "GOOGLE_", "GCE_", "CLOUDSDK_"]
            .iter()
            .any(|cloud| name.starts_with(cloud));
        if cloud || name.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
}

/// The cache of kube-apiserver and its clients, although HOME is changed.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
}
