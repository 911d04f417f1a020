//! Programs that kmslab does not install itself, and the command that installs them.

use std::ffi::OsStr;

use crate::exit::environment;

/// A program and its package in Debian and Ubuntu; `None` if theirs may be too old.
struct Program {
    names: &'static [&'static str],
    package: Option<&'static str>,
    otherwise: &'static str,
}

/// For a kind cluster whose node image is built here.
const KIND: &[Program] = &[
    Program {
        names: &["docker", "podman"],
        package: Some("docker.io"),
        otherwise: "",
    },
    Program {
        names: &["debootstrap"],
        package: Some("debootstrap"),
        otherwise: "",
    },
    Program {
        names: &["zstd"],
        package: Some("zstd"),
        otherwise: "",
    },
    Program {
        names: &["go"],
        package: None,
        otherwise: "Go 1.26 or later (https://go.dev/dl/)",
    },
];

/// Adds to `error` everything for kind that this machine lacks, so that a single command installs
/// it.
pub(crate) fn with_all_for_kind(error: anyhow::Error) -> anyhow::Error {
    let Some(all) = missing(KIND, &std::env::var_os("PATH").unwrap_or_default()) else {
        return error;
    };
    let root = if rustix::process::geteuid().is_root() {
        ""
    } else {
        "; then `sudo kmslab assets node` once"
    };
    environment(format!(
        "{error:#}\nto get all that a kind cluster with a node image built here needs: {all}{root}"
    ))
}

/// The command and downloads for what is in none of the directories of `path`; `None` if nothing is
/// missing.
fn missing(programs: &[Program], path: &OsStr) -> Option<String> {
    let is_there = |name: &&str| std::env::split_paths(path).any(|dir| dir.join(name).is_file());
    let lacking: Vec<&Program> = programs
        .iter()
        .filter(|program| !program.names.iter().any(&is_there))
        .collect();
    let packages: Vec<&str> = lacking
        .iter()
        .filter_map(|program| program.package)
        .collect();
    let mut ways = Vec::new();
    if !packages.is_empty() {
        ways.push(format!("`sudo apt-get install {}`", packages.join(" ")));
    }
    ways.extend(
        lacking
            .iter()
            .filter(|program| program.package.is_none())
            .map(|program| program.otherwise.to_owned()),
    );
    (!ways.is_empty()).then(|| ways.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_listed_in_one_command() {
        let dir = tempfile::tempdir().unwrap();
        let path = || missing(KIND, dir.path().as_os_str());
        let all = "`sudo apt-get install docker.io debootstrap zstd`, Go 1.26 or later (https://go.dev/dl/)";
        assert_eq!(path().unwrap(), all);
        for name in ["podman", "zstd", "go"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(path().unwrap(), "`sudo apt-get install debootstrap`");
        std::fs::write(dir.path().join("debootstrap"), "").unwrap();
        assert_eq!(path(), None);
    }
}
