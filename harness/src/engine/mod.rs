//! The container engine of this machine, by its command line: Docker, or Podman where there is no Docker.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::Context as _;
use tokio::process::Command;

use crate::exit::environment;

/// A container engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    program: PathBuf,
}

/// Engines by their command, in the order in which they are tried: kind's own.
const COMMANDS: [&str; 2] = ["docker", "podman"];

impl Engine {
    /// The engine that answers on this machine.
    pub async fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = COMMANDS.iter().filter_map(|name| {
            let program = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())?;
            Some(Self { program })
        });
        let mut refused = Vec::new();
        for engine in installed {
            // Docker's `info` succeeds although there is no daemon; this needs one.
            match engine.output(&["ps", "--quiet"]).await {
                Ok(answer) if answer.status.success() => return Ok(engine),
                Ok(answer) => refused.push(engine.why_not(&answer)),
                Err(error) => refused.push(format!("{}: {error:#}", engine.program.display())),
            }
        }
        Err(environment(if refused.is_empty() {
            "there is no container engine: install Docker (https://docs.docker.com/engine/install/) or Podman"
                .to_owned()
        } else {
            refused.join("; ")
        }))
    }

    /// Its command.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether an image of that name is there.
    pub async fn has_image(&self, image: &str) -> anyhow::Result<bool> {
        Ok(self.output(&["image", "inspect", "--format", "{{.Id}}", image]).await?.status.success())
    }

    /// Runs a command to its end, and gives what it printed.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let answer = self.output(args).await?;
        if answer.status.success() {
            return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
        }
        Err(environment(format!("{} {}: {}", self.name(), args.first().copied().unwrap_or_default(), said(&answer))))
    }

    async fn output(&self, args: &[&str]) -> anyhow::Result<Output> {
        let command = Command::new(&self.program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
        command.await.with_context(|| format!("running {}", self.program.display()))
    }

    fn name(&self) -> &str {
        self.program.file_name().and_then(|name| name.to_str()).unwrap_or("docker")
    }

    /// What to do about an engine that is installed and does not answer.
    fn why_not(&self, answer: &Output) -> String {
        let (name, said) = (self.name(), said(answer));
        let remedy = if said.contains("permission denied") {
            "this user may not use it: add it to the group docker and log in again, or run this as root"
        } else {
            "start it, as with `sudo systemctl start docker`"
        };
        format!("{name} is installed and does not answer: {said}; {remedy}")
    }
}

/// The last line that an engine wrote to standard error, where it says what is wrong.
fn said(answer: &Output) -> String {
    let text = String::from_utf8_lossy(&answer.stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("it said nothing").to_owned()
}
