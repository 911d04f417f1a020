//! Programs that a user names by the variables of other tools.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Tool, is_program};
use crate::exit::environment;

/// A directory with kube-apiserver, etcd and kubectl, read by controller-runtime's envtest and
/// Kubebuilder.
const DIRECTORY: &str = "KUBEBUILDER_ASSETS";

/// Finds the program that a variable names. It is an error if it does not exist: a run must not
/// continue with another.
pub(super) fn find(
    tool: Tool,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Option<PathBuf>> {
    let set = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let own = tool_variable(tool);
    if let Some(path) = set(&own) {
        return if is_program(&path) {
            Ok(Some(path))
        } else {
            Err(environment(format!(
                "{own} names {}, which is not an executable file: correct or unset it",
                path.display()
            )))
        };
    }
    set(DIRECTORY).map_or(Ok(None), |dir| find_in(tool, &dir, DIRECTORY))
}

/// Finds the program in the directory of `--assets`.
pub(super) fn in_directory(tool: Tool, dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    find_in(tool, dir, "--assets")
}

fn find_in(tool: Tool, dir: &Path, named_by: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = dir.join(tool.file());
    if is_program(&path) {
        return Ok(Some(path));
    }
    match tool {
        // Every such directory has these; the others are specific to kmslab.
        Tool::KubeApiserver | Tool::Etcd => Err(environment(format!(
            "{named_by} is set, but {} is not an executable file: fill the directory, for example with setup-envtest, or leave {named_by} out",
            path.display()
        ))),
        Tool::Kubectl | Tool::Etcdctl | Tool::Etcdutl | Tool::Kind => Ok(None),
    }
}

/// `TEST_ASSET_KUBE_APISERVER`, as in controller-runtime.
fn tool_variable(tool: Tool) -> String {
    format!(
        "TEST_ASSET_{}",
        tool.file().to_uppercase().replace('-', "_")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::assets::tests::program;

    #[test]
    fn tool_variable_takes_precedence_and_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let (own, shared) = (dir.path().join("mine"), dir.path().join("etcd"));
        let mut set = BTreeMap::new();
        let look = |set: &BTreeMap<&str, PathBuf>, tool| {
            find(tool, &|name| set.get(name).map(|path| path.into()))
        };
        assert_eq!(look(&set, Tool::Etcd).unwrap(), None);

        set.insert("KUBEBUILDER_ASSETS", dir.path().to_owned());
        let error = look(&set, Tool::Etcd).unwrap_err();
        assert!(
            error.to_string().contains("KUBEBUILDER_ASSETS is set")
                && crate::exit::code(&error) == 3,
            "{error}"
        );
        assert_eq!(look(&set, Tool::Etcdctl).unwrap(), None);
        program(&shared);
        assert_eq!(look(&set, Tool::Etcd).unwrap(), Some(shared));

        set.insert("TEST_ASSET_ETCD", own.clone());
        assert!(
            look(&set, Tool::Etcd)
                .unwrap_err()
                .to_string()
                .contains("TEST_ASSET_ETCD names")
        );
        program(&own);
        assert_eq!(look(&set, Tool::Etcd).unwrap(), Some(own));
        assert_eq!(
            tool_variable(Tool::KubeApiserver),
            "TEST_ASSET_KUBE_APISERVER"
        );
    }
}
