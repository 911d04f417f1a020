//! What a machine lacks for kind, and what is done about it: only where a look shows that it is
//! needed.

use crate::engine::Engine;

/// What this machine lacks, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedies {
    /// Containers can't lower their oom_score_adj: containerd in the node must not try.
    pub restrict_oom_score_adj: bool,
}

/// What differs between machines and between node images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What it lacks.
    pub remedies: Remedies,
    /// Whether the node image has what kubeadm installs besides: coredns and kube-proxy. Ours has
    /// not.
    pub has_addons: bool,
    /// The image of pods' sandboxes, which is on every node.
    pub pause: String,
}

/// The bounding set that containers get, then of the node image its own network configurations and
/// the name of its pause image.
const LOOK: &str =
    "cat /proc/self/status; ls /etc/cni/net.d; grep pause: /etc/containerd/config.toml || true";
/// In images that kind-config/image/build has made.
const OURS: &str = "10-kmslab.conflist";

impl Machine {
    /// Looks into a privileged container of the node image, since it is the engine's rights that
    /// count and not this process's.
    pub async fn find(engine: &Engine, image: &str) -> anyhow::Result<Self> {
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
            LOOK,
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
            has_addons: !look.lines().any(|line| line == OURS),
            pause,
        }
    }
}

impl Remedies {
    /// What is done, for a person to read.
    pub fn said(self) -> Option<&'static str> {
        self.restrict_oom_score_adj.then_some(
            "containers get no CAP_SYS_RESOURCE here: containerd in the node is told not to lower oom_score_adj",
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
    fn the_bounding_set_is_what_counts() {
        assert!(has_sys_resource("CapEff:\t0\nCapBnd:\t000001ffffffffff\n"));
        assert!(!has_sys_resource(
            "CapEff:\t000001ffffffffff\nCapBnd:\t000001fffeffffff\n"
        ));
        assert!(!has_sys_resource(""));
    }

    #[test]
    fn our_image_is_known_by_its_network() {
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
        assert!(conflist.contains(&format!("/etc/cni/net.d/{OURS}")));
    }
}
