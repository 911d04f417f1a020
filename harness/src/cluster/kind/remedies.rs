//! Limitations of a machine that kind needs workarounds for, applied only where they are detected.

use crate::engine::Engine;

/// Workarounds for this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedies {
    /// Containers cannot lower their oom_score_adj, so containerd in the node must not try.
    pub restrict_oom_score_adj: bool,
}

/// Differences between machines and between node images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Workarounds that the machine needs.
    pub remedies: Remedies,
    /// Whether the node image contains kubeadm's addons, coredns and kube-proxy. Ours does not.
    pub has_addons: bool,
    /// The image of pod sandboxes, which is on every node.
    pub pause: String,
}

/// Prints the bounding set of containers, then the node image's network configurations and the name
/// of its pause image.
const PROBE_COMMAND: &str =
    "cat /proc/self/status; ls /etc/cni/net.d; grep pause: /etc/containerd/config.toml || true";
/// Present in images built by kind-config/image/build.
const OWN_NETWORK_CONFIG: &str = "10-kmslab.conflist";

impl Machine {
    /// Runs a privileged container of the node image, since the engine's capabilities matter and
    /// not this process's.
    pub async fn detect(engine: &Engine, image: &str) -> anyhow::Result<Self> {
        let run = [
            "run",
            "--rm",
            "--privileged",
            "--network",
            "none",
            "--entrypoint",
            "/bin/sh",
            image,
            "-c",
            PROBE_COMMAND,
        ];
        Ok(Self::read(&engine.run(&run).await?))
    }

    fn read(look: &str) -> Self {
        let remedies = Remedies {
            restrict_oom_score_adj: !has_sys_resource(look),
        };
        let pause = look
            .split('"')
            .find(|word| word.contains("pause:"))
            .unwrap_or_default()
            .to_owned();
        Self {
            remedies,
            has_addons: !look.lines().any(|line| line == OWN_NETWORK_CONFIG),
            pause,
        }
    }
}

impl Remedies {
    /// A description for people.
    pub fn description(self) -> Option<&'static str> {
        self.restrict_oom_score_adj.then_some(
            "containers get no CAP_SYS_RESOURCE here: containerd in the node is configured not to lower oom_score_adj",
        )
    }
}

/// Whether the bounding set in `/proc/<pid>/status` has bit 24.
fn has_sys_resource(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & (1 << 24) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounding_set_decides_about_sys_resource() {
        assert!(has_sys_resource("CapEff:\t0\nCapBnd:\t000001ffffffffff\n"));
        assert!(!has_sys_resource(
            "CapEff:\t000001ffffffffff\nCapBnd:\t000001fffeffffff\n"
        ));
        assert!(!has_sys_resource(""));
    }

    #[test]
    fn own_node_image_is_recognised_by_its_network() {
        let look = "CapBnd:\t000001ffffffffff\n10-kmslab.conflist\n  sandbox_image = \"registry.k8s.io/pause:3.10\"\n";
        let remedies = Remedies {
            restrict_oom_score_adj: false,
        };
        let pause = "registry.k8s.io/pause:3.10".to_owned();
        assert_eq!(
            Machine::read(look),
            Machine {
                remedies,
                has_addons: false,
                pause
            }
        );
        assert!(
            Machine::read("CapBnd:\t0\n").has_addons,
            "kindest/node gets its network later"
        );
        let conflist = include_str!("../../../../kind-config/image/Dockerfile");
        assert!(conflist.contains(&format!("/etc/cni/net.d/{OWN_NETWORK_CONFIG}")));
    }
}
