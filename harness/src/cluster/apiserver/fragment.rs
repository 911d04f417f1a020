//! The API server's encryption flags, from the kubeadm fragment in kind-config/.

use std::path::Path;

use serde::Deserialize;

use super::StartError;

const FRAGMENT: &str = include_str!("../../../../kind-config/api-server.yaml");
/// The flag whose file belongs to the cluster.
const ENCRYPTION_FLAG: &str = "encryption-provider-config";

/// Returns the fragment's flags, with `encryption` as the EncryptionConfiguration.
pub(super) fn flags(encryption: &Path) -> Result<Vec<String>, StartError> {
    let invalid = |why: String| StartError::Invalid {
        what: "kind-config/api-server.yaml".into(),
        why,
    };
    let fragment: ClusterConfiguration =
        serde_saphyr::from_str(FRAGMENT).map_err(|error| invalid(error.to_string()))?;
    let args = fragment.api_server.extra_args;
    if !args.iter().any(|arg| arg.name == ENCRYPTION_FLAG) {
        return Err(invalid(format!("it does not set {ENCRYPTION_FLAG}")));
    }
    let flag = |Arg { name, value }| match name == ENCRYPTION_FLAG {
        true => format!("--{name}={}", encryption.display()),
        false => format!("--{name}={value}"),
    };
    Ok(args.into_iter().map(flag).collect())
}

/// The part of kubeadm.k8s.io/v1beta4 that the file uses. Host paths are for containers only.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterConfiguration {
    api_server: ApiServer,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiServer {
    extra_args: Vec<Arg>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arg {
    name: String,
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_flag_names_the_clusters_own_file() {
        let flags = flags(Path::new("/lab/enc.yaml")).unwrap();
        assert_eq!(
            flags,
            [
                "--encryption-provider-config=/lab/enc.yaml",
                "--encryption-provider-config-automatic-reload=true"
            ]
        );
    }

    #[test]
    fn by_hand_every_referenced_file_is_mounted() {
        let fragment: serde_json::Value = serde_saphyr::from_str(FRAGMENT).unwrap();
        assert_eq!(fragment["apiVersion"], "kubeadm.k8s.io/v1beta4");
        let volumes = fragment["apiServer"]["extraVolumes"].as_array().unwrap();
        let mounted = |file: &str| {
            volumes.iter().any(|volume| {
                assert_eq!(volume["hostPath"], volume["mountPath"]);
                Path::new(file).starts_with(volume["mountPath"].as_str().unwrap())
            })
        };
        assert!(mounted(
            fragment["apiServer"]["extraArgs"][0]["value"]
                .as_str()
                .unwrap()
        ));
        assert!(mounted("/var/run/kmsplugin/socket.sock"));
        assert!(!mounted("/etc/passwd"));
    }
}
