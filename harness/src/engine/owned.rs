//! What a lab has in a container engine. Its network is made first and removed last and carries the
//! lab's directory as a label, so that whoever comes later, a sweep after a SIGKILL too, finds all
//! of it and nothing of anybody else's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::VARIABLES;

/// On everything that a lab makes itself: the lab's directory.
pub const LABEL: &str = "dev.kmslab.lab";
/// kind's own, on nodes: the cluster's name.
pub const KIND_LABEL: &str = "io.x-k8s.kind.cluster";
/// How often no node must be found, and how long apart, for there to be none.
const QUIET_LOOKS: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A note of what is to be removed with a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    engine: PathBuf,
    variables: BTreeMap<String, String>,
    lab: PathBuf,
    cluster: String,
}

impl Owned {
    /// What the lab in the directory `lab` has in the engine whose command is `engine`, with the
    /// kind cluster `cluster`.
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

    /// Removes all of it: containers with their volumes, networks, images. `Err` where the engine
    /// does not do it, so that it can be tried again; `Ok` where nothing is left. Blocks.
    pub fn remove(&self) -> io::Result<()> {
        let ours = format!("label={}", self.label());
        self.remove_containers(&ours)?;
        // Without a network of ours the cluster's name is not ours either, and its nodes are
        // somebody else's.
        let networks = self.ids(&["network", "ls", "--quiet", "--no-trunc", "--filter", &ours])?;
        if !networks.is_empty() {
            self.remove_nodes()?;
        }
        for network in networks {
            // What people have joined to it is theirs.
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

    /// A node that kind had asked for when it was killed appears a moment later: they are looked
    /// for until none has come for a while.
    fn remove_nodes(&self) -> io::Result<()> {
        let nodes = format!("label={KIND_LABEL}={}", self.cluster);
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            let found = self.remove_containers(&nodes)?;
            quiet = if found { 0 } else { quiet + 1 };
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Whether there were any.
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
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // Gone between the look and the removal, by another hand: as wanted.
        if said.to_ascii_lowercase().contains("no such") || said.contains("not found") {
            return Ok(String::new());
        }
        Err(io::Error::other(format!(
            "{} {}: {said}",
            self.engine.display(),
            args.join(" ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// An engine that writes down what it is told, and knows one network with a node and a guest on
    /// it.
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
    fn nodes_and_own_containers_go_and_guests_are_let_off() {
        let dir = tempfile::tempdir().unwrap();
        let owned = Owned::new(&engine(dir.path()), Path::new("/run/lab"), "kmslab-x");
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
    fn an_engine_that_does_not_do_it_is_an_error() {
        let owned = Owned::new(Path::new("/bin/false"), Path::new("/run/lab"), "kmslab-x");
        assert!(owned.remove().is_err());
    }
}
