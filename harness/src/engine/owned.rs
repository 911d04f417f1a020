//! What a lab has in a container engine. Its network is created first, removed last and labelled
//! with the lab's directory, so that a later process, such as a sweep after a SIGKILL, finds
//! everything of the lab and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::VARIABLES;

/// Label of everything that a lab creates itself: the lab's directory.
pub const LABEL: &str = "dev.kmslab.lab";
/// kind's label of nodes: the cluster's name.
pub const KIND_LABEL: &str = "io.x-k8s.kind.cluster";
/// In how many polls no node must be found to conclude that there is none.
const IDLE_POLLS: u32 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A record of what is to be removed with a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedContainers {
    engine: PathBuf,
    variables: BTreeMap<String, String>,
    lab: PathBuf,
    cluster: String,
}

impl OwnedContainers {
    /// What the lab in directory `lab` has in the engine with command `engine`, with the kind
    /// cluster `cluster`.
    pub fn new(engine: &Path, lab: &Path, cluster: &str) -> Self {
        let variables = VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        Self {
            engine: engine.into(),
            variables: variables.collect(),
            lab: lab.into(),
            cluster: cluster.into(),
        }
    }

    /// `dev.kmslab.lab=/run/user/1000/kmslab/default`.
    pub fn label(&self) -> String {
        format!("{LABEL}={}", self.lab.display())
    }

    /// Removes everything: containers with their volumes, networks, images. An error means that it
    /// should be tried again; `Ok` that nothing is left. Blocks.
    pub fn remove(&self) -> io::Result<()> {
        let ours = format!("label={}", self.label());
        self.remove_containers(&ours)?;
        // Without a labelled network the cluster belongs to somebody else, and so do its nodes.
        let networks = self.ids(&["network", "ls", "--quiet", "--no-trunc", "--filter", &ours])?;
        if !networks.is_empty() {
            self.remove_nodes()?;
        }
        for network in networks {
            // Containers that people have connected to it are theirs.
            for guest in self.ids(&[
                "ps",
                "--all",
                "--quiet",
                "--filter",
                &format!("network={network}"),
            ])? {
                self.run(&["network", "disconnect", "--force", &network, &guest])?;
            }
            self.run(&["network", "rm", &network])?;
        }
        self.each(
            &["rmi", "--force"],
            &self.ids(&["image", "ls", "--quiet", "--filter", &ours])?,
        )
    }

    /// A node that kind requested before it was killed appears a moment later, so poll until none
    /// has appeared for a while.
    fn remove_nodes(&self) -> io::Result<()> {
        let nodes = format!("label={KIND_LABEL}={}", self.cluster);
        let mut quiet = 0;
        while quiet < IDLE_POLLS {
            let found = self.remove_containers(&nodes)?;
            quiet = if found { 0 } else { quiet + 1 };
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Returns whether there were any.
    fn remove_containers(&self, filter: &str) -> io::Result<bool> {
        let found = self.ids(&["ps", "--all", "--quiet", "--filter", filter])?;
        self.each(&["rm", "--force", "--volumes"], &found)?;
        Ok(!found.is_empty())
    }

    fn each(&self, command: &[&str], ids: &[String]) -> io::Result<()> {
        let Some(_) = ids.first() else { return Ok(()) };
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        self.run(&[command, &ids].concat()).map(drop)
    }

    fn ids(&self, args: &[&str]) -> io::Result<Vec<String>> {
        Ok(self.run(args)?.lines().map(str::to_owned).collect())
    }

    fn run(&self, args: &[&str]) -> io::Result<String> {
        let mut command = Command::new(&self.engine);
        for name in VARIABLES {
            command.env_remove(name);
        }
        let output = command
            .envs(&self.variables)
            .args(args)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // Removed by another process meanwhile, which is fine.
        if message.to_ascii_lowercase().contains("no such") || message.contains("not found") {
            return Ok(String::new());
        }
        Err(io::Error::other(format!(
            "{} {}: {message}",
            self.engine.display(),
            args.join(" ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A fake engine that records its arguments, with one network that has a node and a guest.
    fn engine(dir: &Path) -> PathBuf {
        let (program, log) = (dir.join("engine"), dir.join("log"));
        let script = format!(
            "#!/bin/sh\ngone() {{ grep -q \"^rm .*$1\" {log} || echo $1; }}\ncase \"$*\" in\n'network ls'*) echo net1;;\n\
             *kind.cluster*) gone node1;;\n*'--filter network=net1') echo guest1;;\n'ps '*) gone emulator1;;\nesac\n\
             echo \"$*\" >> {log}\n",
            log = log.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    #[test]
    fn nodes_and_own_containers_are_removed_and_guests_disconnected() {
        let dir = tempfile::tempdir().unwrap();
        let owned = OwnedContainers::new(&engine(dir.path()), Path::new("/run/lab"), "kmslab-x");
        owned.remove().unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let changes: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains(" ls ") && !line.starts_with("ps "))
            .collect();
        assert_eq!(
            changes,
            [
                "rm --force --volumes emulator1",
                "rm --force --volumes node1",
                "network disconnect --force net1 guest1",
                "network rm net1"
            ]
        );
        assert!(
            log.contains("label=dev.kmslab.lab=/run/lab")
                && log.contains("label=io.x-k8s.kind.cluster=kmslab-x")
        );
    }

    #[test]
    fn failing_engine_is_an_error() {
        let owned =
            OwnedContainers::new(Path::new("/bin/false"), Path::new("/run/lab"), "kmslab-x");
        assert!(owned.remove().is_err());
    }
}
