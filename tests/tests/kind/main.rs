//! Kind clusters with the plugin on their nodes: real kubelets, real systemd, real static pods. In
//! one program, so that a test that waits three minutes for a deadline of Kubernetes' own does so
//! beside others.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod by_hand;
mod failures;
mod ha;
mod image;
mod migration;
mod node;
mod other_people;

use kmslab::assets::Quiet;
use kmslab::cloud::CloudKind;
use kmslab::cluster::ClusterKind;
use kmslab::world::{KindOptions, Plan, World};
use kmslab_e2e::built;

fn plan(kind: KindOptions) -> Plan {
    Plan {
        kmslab: Some(built().join("kmslab")),
        kind,
        ..Plan::new(CloudKind::Aws, ClusterKind::Kind)
    }
}

async fn world(kind: KindOptions) -> World {
    World::start(&plan(kind), &Quiet).await.unwrap()
}
