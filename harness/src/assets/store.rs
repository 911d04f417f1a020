//! The store of setup-envtest: kube-apiserver, etcd and kubectl of several versions, each in its
//! own directory.

use std::path::{Path, PathBuf};

use super::{KUBERNETES, Tool, is_program, platform};

/// Its default directory, from its documentation ("Where does it put all those binaries?").
pub(super) fn default_root() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = if cfg!(target_os = "macos") {
        variable("HOME")?.join("Library/Application Support/io.kubebuilder.envtest")
    } else {
        variable("XDG_DATA_HOME")
            .or_else(|| Some(variable("HOME")?.join(".local/share")))?
            .join("kubebuilder-envtest")
    };
    Some(data.join("k8s"))
}

/// Finds a program of the newest patch release of the pinned minor version; another minor version
/// is never used silently.
pub(super) fn find(root: &Path, tool: Tool) -> Option<PathBuf> {
    let (os, arch) = platform()?;
    let minor = minor_version(KUBERNETES)?;
    let suffix = format!("-{os}-{arch}");
    let dirs = std::fs::read_dir(root).ok()?.flatten();
    let versions = dirs.filter_map(|dir| {
        let name = dir.file_name().into_string().ok()?;
        let version = name.strip_suffix(&suffix)?;
        let patch: u32 = version
            .strip_prefix(&minor)?
            .strip_prefix('.')?
            .parse()
            .ok()?;
        let program = dir.path().join(tool.file());
        is_program(&program).then_some((patch, program))
    });
    versions
        .max_by_key(|(patch, _)| *patch)
        .map(|(_, program)| program)
}

/// `1.36` of `v1.36.3`.
fn minor_version(version: &str) -> Option<String> {
    let (major, rest) = version.trim_start_matches('v').split_once('.')?;
    let (minor, _) = rest.split_once('.')?;
    Some(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::tests::program;

    #[test]
    fn newest_patch_of_the_pinned_minor_version_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let (os, arch) = platform().unwrap();
        for version in ["1.35.9", "1.37.0", "1.36.10", "1.36.2", "1.36.x"] {
            for tool in [Tool::KubeApiserver, Tool::Etcd] {
                program(
                    &dir.path()
                        .join(format!("{version}-{os}-{arch}"))
                        .join(tool.file()),
                );
            }
        }
        program(&dir.path().join("1.36.99-plan9-mips/etcd"));
        let found = find(dir.path(), Tool::Etcd).unwrap();
        assert_eq!(found, dir.path().join(format!("1.36.10-{os}-{arch}/etcd")));
        assert_eq!(find(dir.path(), Tool::Kind), None);
        assert_eq!(find(&dir.path().join("none"), Tool::Etcd), None);
    }
}
