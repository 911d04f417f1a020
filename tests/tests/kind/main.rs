//! Kind clusters with the plugin on their nodes: real kubelets, systemd and static pods. In one
//! program, so that a test that waits three minutes for Kubernetes' own timeout runs concurrently
//! with others.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod by_hand;
mod failures;
mod ha;
mod image;
mod migration;
mod node;
mod other_people;

use kmslab::assets::NoProgress;
use kmslab::cloud::CloudKind;
use kmslab::cluster::ClusterKind;
use kmslab::environment::{Environment, EnvironmentSpec, KindOptions};
use kmslab_e2e::binaries;

fn spec(kind: KindOptions) -> EnvironmentSpec {
    EnvironmentSpec {
        kmslab: Some(binaries().join("kmslab")),
        kind,
        ..EnvironmentSpec::new(CloudKind::Aws, ClusterKind::Kind)
    }
}

async fn environment(kind: KindOptions) -> Environment {
    Environment::start(&spec(kind), &NoProgress).await.unwrap()
}
