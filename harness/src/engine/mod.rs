//! The container engine of this machine, by its command line: Docker, or Podman if there is no
//! Docker.

mod owned;
mod stream;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::Context as _;
use tokio::process::Command;

pub use owned::{KIND_LABEL, LABEL, OwnedContainers};
pub use stream::{ContainerSocket, Stream};

use crate::exit::environment;

/// A container engine that responds.
#[derive(Debug, Clone)]
pub struct Engine {
    program: PathBuf,
}

/// Variables that select the engine of the commands: children and later processes need them to use
/// the same one.
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
/// Commands in the order in which they are tried, which is kind's.
const COMMANDS: [&str; 2] = ["docker", "podman"];

impl Engine {
    /// Finds the engine that responds on this machine.
    pub async fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = COMMANDS.iter().filter_map(|name| {
            let program = std::env::split_paths(&path)
                .map(|dir| dir.join(name))
                .find(|file| file.is_file())?;
            Some(Self { program })
        });
        let mut rejected = Vec::new();
        for engine in installed {
            // Docker's `info` succeeds without a daemon; this does not.
            match engine.output(&["ps", "--quiet"]).await {
                Ok(answer) if answer.status.success() => return Ok(engine),
                Ok(answer) => rejected.push(engine.remedy(&answer)),
                Err(error) => rejected.push(format!("{}: {error:#}", engine.program.display())),
            }
        }
        Err(environment(if rejected.is_empty() {
            "there is no container engine: install Docker (https://docs.docker.com/engine/install/) or Podman"
                .to_owned()
        } else {
            rejected.join("; ")
        }))
    }

    /// The engine with a command that was found before.
    pub fn at(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Its command.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Memory in bytes of the engine's machine, which may be another one.
    pub async fn memory(&self) -> anyhow::Result<u64> {
        let format = if self.name() == "podman" {
            "{{.Host.MemTotal}}"
        } else {
            "{{.MemTotal}}"
        };
        let message = self.run(&["info", "--format", format]).await?;
        message
            .trim()
            .parse()
            .with_context(|| format!("{} info names no memory: {message:?}", self.name()))
    }

    /// Whether an image exists.
    pub async fn has_image(&self, image: &str) -> anyhow::Result<bool> {
        Ok(self.image_id(image).await?.is_some())
    }

    /// Id of an image, if it exists.
    pub async fn image_id(&self, image: &str) -> anyhow::Result<Option<String>> {
        let answer = self
            .output(&["image", "inspect", "--format", "{{.Id}}", image])
            .await?;
        let id = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        Ok(answer.status.success().then_some(id))
    }

    /// Runs a command and returns its output.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let answer = self.output(args).await?;
        if answer.status.success() {
            return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
        }
        Err(environment(format!(
            "{} {}: {}",
            self.name(),
            args.first().copied().unwrap_or_default(),
            last_error_line(&answer)
        )))
    }

    /// Runs a command in a container and returns its output.
    pub async fn exec(&self, container: &str, command: &[&str]) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.exec_bytes(container, command).await?).into_owned())
    }

    /// [`Engine::exec`] for binary output.
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

    /// Imports a file system that `archive` writes as a tar archive, with changes as in a
    /// Dockerfile. A previous image of that name is removed unless it has another name.
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
            // The engine's error explains more than a broken pipe.
            let written = archive(input);
            let answer = child.wait_with_output()?;
            if answer.status.success() {
                return written;
            }
            Err(environment(format!(
                "{name} import: {}",
                last_error_line(&answer)
            )))
        });
        imported.await.context("importing an image")??;
        if let Some(before) = before.filter(|id| !id.is_empty())
            && self.image_id(tag).await?.as_ref() != Some(&before)
        {
            // An image that a container uses, or that has another name, stays: the engine refuses.
            let _ = self.output(&["rmi", &before]).await;
        }
        Ok(())
    }

    /// State of a container, such as `running`.
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

    /// Output of a container on both streams; empty if the container is gone.
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

    /// Address of a container's port on this machine, such as `127.0.0.1:32768`.
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

    /// An image's name with its registry, which Podman requires where Docker has a default:
    /// `localhost` for local images.
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

    /// Whether containers on a network find each other by name. Docker's do; Podman's need a
    /// program for it.
    pub async fn has_names(&self, network: &str) -> anyhow::Result<bool> {
        if self.name() != "podman" {
            return Ok(true);
        }
        let message = self
            .run(&["network", "inspect", "--format", "{{.DNSEnabled}}", network])
            .await?;
        Ok(message.trim() == "true")
    }

    /// The remedy for an engine that is installed but does not respond.
    fn remedy(&self, answer: &Output) -> String {
        let (name, message) = (self.name(), last_error_line(answer));
        let remedy = if message.contains("permission denied") {
            "this user may not use it: add it to the group docker and log in again, or run this as root"
        } else {
            "start it, as with `sudo systemctl start docker`"
        };
        format!("{name} is installed and does not answer: {message}; {remedy}")
    }
}

/// The last line that an engine wrote to standard error.
fn last_error_line(answer: &Output) -> String {
    let text = String::from_utf8_lossy(&answer.stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_gets_the_registry_and_docker_does_not() {
        let (docker, podman) = (
            Engine::at(Path::new("/usr/bin/docker")),
            Engine::at(Path::new("/usr/bin/podman")),
        );
        for (image, expected) in [
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
                (expected, image)
            );
        }
    }
}
