//! kind's own configuration: the file in kind-config/ that people also use by hand, and what a machine needs besides.

use serde_json::{Value, json};

use super::Remedies;

const CLUSTER: &str = include_str!("../../../../kind-config/cluster.yaml");

/// The configuration of a cluster of one node, for `kind create cluster --config`.
pub fn cluster(remedies: Remedies) -> anyhow::Result<String> {
    let mut config: Value = serde_saphyr::from_str(CLUSTER)?;
    if remedies.restrict_oom_score_adj {
        config["containerdConfigPatches"] =
            json!(["[plugins.\"io.containerd.grpc.v1.cri\"]\n  restrict_oom_score_adj = true\n"]);
    }
    Ok(serde_saphyr::to_string(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_added_where_it_is_needed_and_the_rest_stays() {
        let plain: Value = serde_saphyr::from_str(CLUSTER).unwrap();
        let as_it_is = cluster(Remedies { restrict_oom_score_adj: false }).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&as_it_is).unwrap(), plain);
        let with = cluster(Remedies { restrict_oom_score_adj: true }).unwrap();
        let mut with: Value = serde_saphyr::from_str(&with).unwrap();
        let patches = with.as_object_mut().unwrap().remove("containerdConfigPatches").unwrap();
        assert!(patches[0].as_str().unwrap().contains("restrict_oom_score_adj = true"));
        assert_eq!(with, plain);
    }
}
