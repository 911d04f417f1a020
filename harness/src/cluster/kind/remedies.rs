//! What a machine lacks for kind, and what is done about it: only where a look shows that it is needed.

use crate::engine::Engine;

/// What this machine lacks, and what is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedies {
    /// Containers can't lower their oom_score_adj: containerd in the node must not try.
    pub restrict_oom_score_adj: bool,
}

impl Remedies {
    /// Looks into a privileged container of `image`, since it is the engine's rights that count and not this process's.
    pub async fn find(engine: &Engine, image: &str) -> anyhow::Result<Self> {
        let run = ["run", "--rm", "--privileged", "--network", "none", "--entrypoint", "/bin/cat", image];
        let status = engine.run(&[&run[..], &["/proc/self/status"]].concat()).await?;
        Ok(Self { restrict_oom_score_adj: !has_sys_resource(&status) })
    }

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
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & (1 << 24) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounding_set_is_what_counts() {
        assert!(has_sys_resource("CapEff:\t0\nCapBnd:\t000001ffffffffff\n"));
        assert!(!has_sys_resource("CapEff:\t000001ffffffffff\nCapBnd:\t000001fffeffffff\n"));
        assert!(!has_sys_resource(""));
    }
}
