//! kind's configuration: the files in kind-config/ that can also be used by hand, and patches for
//! this machine.

use std::path::Path;

use serde_json::{Value, json};

use super::files::{POD_MANIFEST, PluginForm};
use super::{Machine, Remedies};

const PLAIN: &str = include_str!("../../../../kind-config/cluster.yaml");
const ENCRYPTED: &str = include_str!("../../../../kind-config/encrypted.yaml");

/// Where units are mounted.
const SYSTEMD: &str = "/etc/systemd/";
/// kubeadm phases for which our node image has no images.
const SKIPPED_PHASES: [&str; 2] = ["addon/coredns", "addon/kube-proxy"];

/// A plain cluster of one node, for `kind create cluster --config`.
pub fn plain(machine: &Machine) -> anyhow::Result<String> {
    render(serde_saphyr::from_str(PLAIN)?, machine)
}

/// A cluster whose API servers encrypt, with mounts from `files` instead of `node/`.
pub fn encrypted(
    machine: &Machine,
    files: &Path,
    form: PluginForm,
    control_planes: usize,
) -> anyhow::Result<String> {
    let mut config: Value = serde_saphyr::from_str(ENCRYPTED)?;
    if let Some(nodes) = config["nodes"].as_array_mut() {
        *nodes = nodes.iter().cycle().take(control_planes).cloned().collect();
    }
    for node in config["nodes"].as_array_mut().into_iter().flatten() {
        let Some(mounts) = node["extraMounts"].as_array_mut() else {
            continue;
        };
        if form == PluginForm::StaticPod {
            mounts.retain(|mount| {
                !mount["containerPath"]
                    .as_str()
                    .is_some_and(|path| path.starts_with(SYSTEMD))
            });
            let manifest = format!("node{POD_MANIFEST}");
            mounts.push(
                json!({ "hostPath": manifest, "containerPath": POD_MANIFEST, "readOnly": true }),
            );
        }
        for mount in mounts {
            let relative = mount["hostPath"]
                .as_str()
                .and_then(|path| path.strip_prefix("node/"));
            let relative = relative
                .ok_or_else(|| anyhow::anyhow!("a mount of {ENCRYPTED:?} is not below node/"))?;
            mount["hostPath"] = files.join(relative).display().to_string().into();
        }
    }
    render(config, machine)
}

fn render(mut config: Value, machine: &Machine) -> anyhow::Result<String> {
    if let (Some(config), Some(patches)) =
        (config.as_object_mut(), apply_remedies(machine.remedies))
    {
        config.extend(patches);
    }
    if !machine.has_addons
        && let Some(patches) = config["kubeadmConfigPatches"].as_array_mut()
    {
        for version in ["v1beta4", "v1beta3"] {
            patches.push(skip(version).into());
        }
    }
    Ok(serde_saphyr::to_string(&config)?)
}

/// What must be appended to a kind configuration on a machine with missing capabilities; else
/// empty.
pub fn patches(remedies: Remedies) -> anyhow::Result<String> {
    Ok(apply_remedies(remedies)
        .map(|patches| serde_saphyr::to_string(&patches))
        .transpose()?
        .unwrap_or_default())
}

fn apply_remedies(remedies: Remedies) -> Option<serde_json::Map<String, Value>> {
    let patch = "[plugins.\"io.containerd.grpc.v1.cri\"]\n  restrict_oom_score_adj = true\n";
    let patches = ("containerdConfigPatches".to_owned(), json!([patch]));
    remedies
        .restrict_oom_score_adj
        .then(|| [patches].into_iter().collect())
}

/// kind skips preflight itself; a patch replaces the whole list.
fn skip(version: &str) -> String {
    let phases: Vec<&str> = ["preflight"].into_iter().chain(SKIPPED_PHASES).collect();
    format!(
        "kind: InitConfiguration\napiVersion: kubeadm.k8s.io/{version}\nskipPhases: [{}]\n",
        phases.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    fn machine(restrict_oom_score_adj: bool, has_addons: bool) -> Machine {
        Machine {
            remedies: Remedies {
                restrict_oom_score_adj,
            },
            has_addons,
            pause: "pause:1".into(),
        }
    }

    #[test]
    fn remedies_are_added_only_where_needed() {
        let as_it_is = plain(&machine(false, true)).unwrap();
        assert_eq!(value(&as_it_is), value(PLAIN));
        let mut with = value(&plain(&machine(true, true)).unwrap());
        let patches = with
            .as_object_mut()
            .unwrap()
            .remove("containerdConfigPatches")
            .unwrap();
        assert!(
            patches[0]
                .as_str()
                .unwrap()
                .contains("restrict_oom_score_adj = true")
        );
        assert_eq!(with, value(PLAIN));
    }

    #[test]
    fn rendered_cluster_config_changes_only_mounts() {
        let by_hand = value(ENCRYPTED);
        let ours = encrypted(
            &machine(false, true),
            Path::new("node"),
            PluginForm::Systemd,
            1,
        )
        .unwrap();
        assert_eq!(value(&ours), by_hand);
        let mounts = |form| {
            let config =
                value(&encrypted(&machine(false, true), Path::new("/lab/node"), form, 1).unwrap());
            config["nodes"][0]["extraMounts"]
                .as_array()
                .unwrap()
                .clone()
        };
        let pod = mounts(PluginForm::StaticPod);
        let units = |mounts: &[Value]| {
            mounts
                .iter()
                .filter(|mount| mount.to_string().contains(SYSTEMD))
                .count()
        };
        assert_eq!((units(&pod), units(&mounts(PluginForm::Systemd))), (0, 2));
        assert_eq!(pod.last().unwrap()["containerPath"], POD_MANIFEST);
        for mount in pod.into_iter().chain(mounts(PluginForm::Systemd)) {
            let (host, container) = (
                mount["hostPath"].as_str().unwrap(),
                mount["containerPath"].as_str().unwrap(),
            );
            assert_eq!(
                host,
                format!("/lab/node{container}"),
                "node/ is laid out as the node"
            );
        }
    }

    #[test]
    fn ha_config_repeats_the_single_node_config() {
        let by_hand = value(include_str!("../../../../kind-config/ha.yaml"));
        let ours = encrypted(
            &machine(false, true),
            Path::new("node"),
            PluginForm::Systemd,
            3,
        )
        .unwrap();
        assert_eq!(value(&ours), by_hand);
    }

    #[test]
    fn kubeadm_patches_match_the_fragment() {
        let fragment = value(include_str!("../../../../kind-config/api-server.yaml"));
        let config = value(ENCRYPTED);
        let patches = config["kubeadmConfigPatches"].as_array().unwrap();
        let patches: Vec<Value> = patches
            .iter()
            .map(|patch| value(patch.as_str().unwrap()))
            .collect();
        let of = |version: &str| {
            patches
                .iter()
                .find(|p| p["apiVersion"] == format!("kubeadm.k8s.io/{version}"))
                .unwrap()
        };
        assert_eq!(*of("v1beta4"), fragment);
        let old = of("v1beta3");
        assert_eq!(
            old["apiServer"]["extraVolumes"],
            fragment["apiServer"]["extraVolumes"]
        );
        let args = fragment["apiServer"]["extraArgs"].as_array().unwrap();
        assert_eq!(
            old["apiServer"]["extraArgs"].as_object().unwrap().len(),
            args.len()
        );
        for arg in args {
            assert_eq!(
                old["apiServer"]["extraArgs"][arg["name"].as_str().unwrap()],
                arg["value"]
            );
        }
    }

    #[test]
    fn phases_without_images_are_skipped() {
        let config = value(&plain(&machine(false, false)).unwrap());
        let patches = config["kubeadmConfigPatches"].as_array().unwrap();
        let skips = patches
            .iter()
            .filter(|patch| patch.as_str().unwrap().contains("addon/coredns"))
            .count();
        assert_eq!(skips, 2, "one for each form of kubeadm's configuration");
    }
}
