//! The command with labs of the test's own.

use std::process::{Command, Output};

use kmslab::lab::Description;

/// kmslab with its labs below `root`.
pub(crate) struct Kmslab {
    root: tempfile::TempDir,
    env: Vec<(&'static str, &'static str)>,
}

impl Kmslab {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::Builder::new()
                .prefix("k")
                .tempdir_in("/tmp")
                .unwrap(),
            env: Vec::new(),
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmslab"));
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", self.root.path())
            .env("XDG_STATE_HOME", self.root.path().join("state"));
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL_KMS",
            "KMSLAB_ADMIN",
            "ETCDCTL_ENDPOINTS",
        ] {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars()
            .filter(|(name, _)| name.starts_with("AZURE_") || name.ends_with("_PROXY"))
        {
            command.env_remove(name);
        }
        command.envs(self.env.iter().copied());
        command
    }

    /// Adds a variable.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{args:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    pub(crate) fn up(&self, args: &[&str]) -> Description {
        serde_json::from_str(&self.ok(&[&["up", "--detach", "--format", "json"], args].concat()))
            .unwrap()
    }

    pub(crate) fn labs(&self) -> std::path::PathBuf {
        self.root.path().join("kmslab")
    }
}

impl Drop for Kmslab {
    fn drop(&mut self) {
        let _ = self.run(&["down", "--all"]);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
