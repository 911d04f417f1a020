//! Three control planes on kind, each with an API server, an etcd member and a plugin: rotation,
//! rewrite, and losses of parts.

use std::collections::BTreeSet;
use std::time::Duration;

use kmslab::cluster::kind::KindCluster;
use kmslab::cluster::kind::files::PluginForm;
use kmslab::cluster::{Api, ObjectRef, Resource};
use kmslab::environment::{Environment, KindOptions};
use kmslab::scenario::{self, Canary, objects};
use kmslab::scenarios;
use kmslab_e2e::root;
use tokio::time::{Instant, sleep};

use super::environment;

/// Secrets written through the load balancer.
struct Writer<'a> {
    kind: &'a KindCluster,
    tried: u32,
    accepted: Vec<(ObjectRef, String)>,
}

impl Writer<'_> {
    /// Writes another one on a new connection; returns whether it was accepted within a few
    /// seconds.
    async fn write(&mut self) -> bool {
        self.tried += 1;
        let canary = Canary::new(std::array::from_fn(|n| {
            (self.tried >> (n % 4 * 8)) as u8 ^ n as u8
        }));
        let secret = objects::secret("default", &format!("balanced-{}", self.tried), 64, &canary);
        let api = self.kind.balanced().unwrap();
        let created = tokio::time::timeout(Duration::from_secs(5), api.create(&secret)).await;
        let Ok(Ok(written)) = created else {
            return false;
        };
        let at = ObjectRef::from_object(&Resource::secrets(), &secret).unwrap();
        self.accepted.push((at, objects::content(&written)));
        true
    }

    /// By every running API server.
    async fn none_is_lost(&self, environment: &Environment, servers: &[usize]) {
        let apis = kmslab::cluster::Cluster::apis(self.kind);
        for (at, content) in &self.accepted {
            let stored = environment
                .cluster
                .etcd()
                .get(&at.etcd_key())
                .await
                .unwrap()
                .unwrap();
            assert!(stored.value.starts_with(b"k8s:enc:kms:v2:kmslab:"), "{at}");
            for server in servers {
                let read = apis[*server]
                    .get(at)
                    .await
                    .unwrap_or_else(|error| panic!("server {server}, {at}: {error}"));
                assert_eq!(objects::content(&read), *content, "server {server}, {at}");
            }
        }
    }
}

/// How many of some more new connections than there are servers reach a healthy server.
async fn well_behind_the_balancer(kind: &KindCluster) -> usize {
    let mut well = 0;
    for _ in 0..6 {
        let health = kind.balanced().unwrap().health("/healthz").await;
        well += usize::from(health.is_ok_and(|health| health.ok()));
    }
    well
}

/// The guide's Service (G14): a monitor of the plugins' health finds all of them.
#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_health_service_has_one_endpoint_per_control_plane() {
    let form = PluginForm::StaticPod;
    let environment = environment(KindOptions {
        control_planes: 3,
        plugin_form: form,
        ..KindOptions::default()
    })
    .await;
    let kind = environment.kind().unwrap();
    let service = std::fs::read_to_string(root().join("kind-config/kms-health.yaml")).unwrap();
    let apply = format!(
        "kubectl --kubeconfig=/etc/kubernetes/admin.conf apply -f - <<'EOF'\n{service}\nEOF"
    );
    kind.engine()
        .exec(kind.node(0).unwrap(), &["bash", "-c", &apply])
        .await
        .unwrap();
    let slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices?labelSelector=kubernetes.io/service-name=kms-health";
    let since = Instant::now();
    loop {
        let slices = kind.api_of(0).unwrap().get_path(slices).await.unwrap();
        let slices = slices["items"].as_array().unwrap();
        let endpoints: Vec<_> = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().unwrap())
            .collect();
        let ready = endpoints
            .iter()
            .filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let nodes: BTreeSet<&str> = ready
            .map(|endpoint| endpoint["nodeName"].as_str().unwrap())
            .collect();
        if nodes.len() == 3 {
            assert!(
                slices.iter().all(|slice| slice["ports"][0]["port"] == 8080),
                "{slices:?}"
            );
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(90), "{slices:?}");
        sleep(Duration::from_millis(500)).await;
    }
    environment.shutdown().await.unwrap();
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_three_control_planes_rotate_rewrite_and_survive_losses() {
    let kind = KindOptions {
        control_planes: 3,
        ..KindOptions::default()
    };
    let environment = environment(kind).await;
    assert_eq!(
        (
            environment.cluster.apis().len(),
            environment.plugin.each().count()
        ),
        (3, 3)
    );
    for name in ["rotate", "rewrite"] {
        let outcome = scenario::run(scenarios::find(name).unwrap(), &environment, None).await;
        assert_eq!(outcome.failure, None, "{name}");
    }
    let traffic = environment.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");

    let kind = environment.kind().unwrap();
    let mut writer = Writer {
        kind,
        tried: 0,
        accepted: Vec::new(),
    };
    assert_eq!(well_behind_the_balancer(kind).await, 6);

    // One node's plugin stopped: its API server is unhealthy, and the balancer sends it no
    // connections.
    let engine = kind.engine();
    engine
        .exec(
            kind.node(1).unwrap(),
            &["systemctl", "stop", "kmslab-plugin"],
        )
        .await
        .unwrap();
    let second = kind.api_of(1).unwrap();
    let since = Instant::now();
    while second.health("/healthz").await.unwrap().ok() {
        assert!(writer.write().await, "a write through the balancer failed");
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "the second API server stays well without its plugin"
        );
    }
    while well_behind_the_balancer(kind).await < 6 {
        assert!(writer.write().await, "a write through the balancer failed");
        assert!(
            since.elapsed() < Duration::from_secs(90),
            "the balancer goes on to a server that is unwell"
        );
    }
    engine
        .exec(
            kind.node(1).unwrap(),
            &["systemctl", "start", "kmslab-plugin"],
        )
        .await
        .unwrap();
    while !second.health("/healthz").await.unwrap().ok() {
        assert!(
            since.elapsed() < Duration::from_secs(150),
            "the second API server does not recover"
        );
        sleep(Duration::from_millis(200)).await;
    }
    writer.none_is_lost(&environment, &[0, 1, 2]).await;

    // One node killed: at most what was sent to it fails.
    let third = kind.node(2).unwrap();
    let before = writer.tried;
    engine.run(&["kill", third]).await.unwrap();
    let (mut failed, since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(20) {
        failed += u32::from(!writer.write().await);
    }
    assert!(
        writer.tried > before + 20,
        "{} writes in 20 s",
        writer.tried - before
    );
    assert!(
        failed <= 2,
        "{failed} of {} writes failed",
        writer.tried - before
    );
    assert!(
        kind.api_of(2).unwrap().health("/healthz").await.is_err(),
        "the third node is not gone"
    );
    writer.none_is_lost(&environment, &[0, 1]).await;
    engine.run(&["start", third]).await.unwrap();
    let (third, since) = (kind.api_of(2).unwrap(), Instant::now());
    while !third
        .health("/readyz")
        .await
        .is_ok_and(|health| health.ok())
    {
        assert!(
            since.elapsed() < Duration::from_secs(120),
            "the third node does not come back"
        );
        sleep(Duration::from_millis(200)).await;
    }
    writer.none_is_lost(&environment, &[0, 1, 2]).await;
    environment.shutdown().await.unwrap();
}
