//! The container engine of this machine, by its command line: Docker, or Podman where there is no
//! Docker.

mod owned;
mod stream;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::Context as _;
use tokio::process::Command;

pub use owned::{KIND_LABEL, LABEL, Owned};
pub use stream::{Stream, Way};

use crate::exit::environment;

/// A container engine that answers.
#[derive(Debug, Clone)]
pub struct Engine {
    program: PathBuf,
}

/// Which engine the commands speak to, and how: what a child or a later process needs to reach the
/// same one.
pub(crate) const VARIABLES: [&str; 9] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "CONTAINER_HOST",
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "XDG_RUNTIME_DIR",
];
/// Engines by their command, in the order in which they are tried: kind's own.
const COMMANDS: [&str; 2] = ["docker", "podman"];

impl Engine {
    /// The engine that answers on this machine.
    pub async fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = COMMANDS.iter().filter_map(|name| {
            let program = std::env::split_paths(&path)
                .map(|dir| dir.join(name))
                .find(|file| file.is_file())?;
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

    /// The engine with this command, which was found before.
    pub fn at(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Its command.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Bytes of memory of the machine that it runs on, which need not be this one.
    pub async fn memory(&self) -> anyhow::Result<u64> {
        let format = if self.name() == "podman" {
            "{{.Host.MemTotal}}"
        } else {
            "{{.MemTotal}}"
        };
        let said = self.run(&["info", "--format", format]).await?;
        said.trim()
            .parse()
            .with_context(|| format!("{} info names no memory: {said:?}", self.name()))
    }

    /// Whether an image of that name is there.
    pub async fn has_image(&self, image: &str) -> anyhow::Result<bool> {
        Ok(self.image_id(image).await?.is_some())
    }

    /// Which image that name stands for, if it is there.
    pub async fn image_id(&self, image: &str) -> anyhow::Result<Option<String>> {
        let answer = self
            .output(&["image", "inspect", "--format", "{{.Id}}", image])
            .await?;
        let id = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        Ok(answer.status.success().then_some(id))
    }

    /// Runs a command to its end, and gives what it printed.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let answer = self.output(args).await?;
        if answer.status.success() {
            return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
        }
        Err(environment(format!(
            "{} {}: {}",
            self.name(),
            args.first().copied().unwrap_or_default(),
            said(&answer)
        )))
    }

    /// Runs a command in a container to its end, and gives what it printed.
    pub async fn exec(&self, container: &str, command: &[&str]) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.exec_bytes(container, command).await?).into_owned())
    }

    /// [`Engine::exec`] for what is no text.
    pub async fn exec_bytes(&self, container: &str, command: &[&str]) -> anyhow::Result<Vec<u8>> {
        let answer = self
            .output(&[&["exec", container], command].concat())
            .await?;
        if answer.status.success() {
            return Ok(answer.stdout);
        }
        let (out, error) = (
            String::from_utf8_lossy(&answer.stdout),
            String::from_utf8_lossy(&answer.stderr),
        );
        Err(anyhow::anyhow!(
            "in {container}, {}: {}{}",
            command.join(" "),
            out.trim(),
            error.trim()
        ))
    }

    /// An image of a file system that `archive` writes as a tar archive, with changes as in a
    /// Dockerfile. One that had the name before, and has no other, goes.
    pub async fn import(
        &self,
        tag: &str,
        changes: &[String],
        archive: impl FnOnce(std::process::ChildStdin) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let before = self.image_id(tag).await?;
        let mut command = std::process::Command::new(&self.program);
        command.arg("import");
        for change in changes {
            command.args(["--change", change]);
        }
        command
            .args(["-", tag])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let name = self.name().to_owned();
        let imported = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn()?;
            let input = child
                .stdin
                .take()
                .context("the engine's command has no pipe")?;
            // A pipe that breaks is the lesser news: what the engine says tells why.
            let written = archive(input);
            let answer = child.wait_with_output()?;
            if answer.status.success() {
                return written;
            }
            Err(environment(format!("{name} import: {}", said(&answer))))
        });
        imported.await.context("importing an image")??;
        if let Some(before) = before.filter(|id| !id.is_empty())
            && self.image_id(tag).await?.as_ref() != Some(&before)
        {
            // One that a container uses, or that has another name, stays: the engine refuses.
            let _ = self.output(&["rmi", &before]).await;
        }
        Ok(())
    }

    /// `running`, or what a container is instead.
    pub async fn state(&self, container: &str) -> anyhow::Result<String> {
        let state = self
            .run(&["inspect", "--format", "{{.State.Status}}", container])
            .await?
            .trim()
            .to_owned();
        if state == "running" {
            Ok(state)
        } else {
            Err(anyhow::anyhow!("{state}"))
        }
    }

    /// What a container has written, to either stream; of a container that is gone, nothing.
    pub async fn logs(&self, container: &str) -> String {
        let Ok(answer) = self.output(&["logs", "--tail", "20", container]).await else {
            return String::new();
        };
        format!(
            "{}{}",
            String::from_utf8_lossy(&answer.stdout),
            String::from_utf8_lossy(&answer.stderr)
        )
    }

    /// Where a container's port is reached on this machine, `127.0.0.1:32768`.
    pub async fn port(&self, container: &str, port: u16) -> anyhow::Result<String> {
        let found = self
            .run(&["port", container, &format!("{port}/tcp")])
            .await?;
        let first = found.lines().find(|line| line.starts_with("127.0.0.1:"));
        first
            .map(str::to_owned)
            .with_context(|| format!("{container} does not publish its port {port}: {found:?}"))
    }

    async fn output(&self, args: &[&str]) -> anyhow::Result<Output> {
        let command = Command::new(&self.program)
            .args(args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        command
            .await
            .with_context(|| format!("running {}", self.program.display()))
    }

    /// `docker` or `podman`.
    pub fn name(&self) -> &str {
        self.program
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("docker")
    }

    /// An image's name with its registry, which Podman asks for where Docker takes its own:
    /// `localhost` has what was made here.
    pub fn full_name(&self, image: &str) -> String {
        match image.split_once('/') {
            _ if self.name() != "podman" => image.to_owned(),
            None => format!("localhost/{image}"),
            Some((registry, _)) if registry == "localhost" || registry.contains(['.', ':']) => {
                image.to_owned()
            }
            Some(_) => format!("docker.io/{image}"),
        }
    }

    /// Whether containers on that network find each other by name. Docker's do; Podman's need a
    /// program for it, or do without.
    pub async fn has_names(&self, network: &str) -> anyhow::Result<bool> {
        if self.name() != "podman" {
            return Ok(true);
        }
        let said = self
            .run(&["network", "inspect", "--format", "{{.DNSEnabled}}", network])
            .await?;
        Ok(said.trim() == "true")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_told_the_registry_and_docker_is_not() {
        let (docker, podman) = (
            Engine::at(Path::new("/usr/bin/docker")),
            Engine::at(Path::new("/usr/bin/podman")),
        );
        for (image, wanted) in [
            ("kmslab-node:v1", "localhost/kmslab-node:v1"),
            ("localhost/a:1", "localhost/a:1"),
            (
                "kindest/node:v1@sha256:00",
                "docker.io/kindest/node:v1@sha256:00",
            ),
            ("registry.example:5000/a", "registry.example:5000/a"),
        ] {
            assert_eq!(
                (
                    podman.full_name(image).as_str(),
                    docker.full_name(image).as_str()
                ),
                (wanted, image)
            );
        }
    }
}
