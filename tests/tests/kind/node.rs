//! A kind cluster with the plugin as a systemd unit of its node: the same scenarios, and what is
//! visible on the node.

use std::time::Duration;

use kmslab::assets::NoProgress;
use kmslab::cloud::CloudKind;
use kmslab::cluster::kind::KindCluster;
use kmslab::cluster::kind::files::PluginForm;
use kmslab::cluster::{ClusterKind, ObjectRef, Resource};
use kmslab::environment::{Environment, EnvironmentSpec, KindOptions};
use kmslab::etcd::bbolt::Database;
use kmslab::etcd::history::History;
use kmslab::scenario::{self, Canary, objects};
use kmslab::scenarios;

use super::{environment, spec};

/// Runs a command on the first node, as `docker exec` does by hand.
async fn on_node(kind: &KindCluster, script: &str) -> String {
    kind.engine()
        .exec(kind.node(0).unwrap(), &["bash", "-c", script])
        .await
        .unwrap()
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn scenarios_pass_on_kind() {
    let environment = environment(KindOptions::default()).await;
    let kind = environment.kind().unwrap();
    for scenario in scenarios::by_default(ClusterKind::Kind) {
        let outcome = scenario::run(scenario, &environment, None).await;
        assert_eq!(outcome.failure, None, "{}", scenario.name);
        if scenario.name == "rewrite" {
            let (written, all) = (18 + 1, outcome.figures.objects.unwrap());
            let others = outcome.figures.others.unwrap();
            assert!(
                others > 0,
                "kubeadm's own Secrets and ConfigMaps count too: {:?}",
                outcome.figures
            );
            assert_eq!(all, written + others);
            assert!(outcome.figures.stale_before.unwrap() > 0);
            assert_eq!(outcome.figures.stale_after, Some(0));
        }
    }
    let traffic = environment.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");

    the_unit_is_as_the_guide_installs_it(kind).await;
    etcdctl_shows_the_prefix(&environment, kind).await;
    the_database_file_holds_what_a_snapshot_holds(&environment, kind).await;
    environment.shutdown().await.unwrap();
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn scenarios_pass_on_kind_with_azure() {
    every_scenario_holds(CloudKind::Azure, "/etc/kmslab/azure.json").await;
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn scenarios_pass_on_kind_with_google() {
    every_scenario_holds(CloudKind::Gcp, "/etc/kmslab/gcp.json").await;
}

/// With the plugin's credentials in that file of the node.
async fn every_scenario_holds(cloud: CloudKind, credentials: &str) {
    let spec = EnvironmentSpec {
        cloud,
        ..spec(KindOptions::default())
    };
    let environment = Environment::start(&spec, &NoProgress).await.unwrap();
    for scenario in scenarios::by_default(ClusterKind::Kind) {
        let outcome = scenario::run(scenario, &environment, None).await;
        assert_eq!(outcome.failure, None, "{}", scenario.name);
    }
    let traffic = environment.traffic().await.unwrap();
    assert_eq!(traffic.broken(), None, "{traffic:?}");
    let kind = environment.kind().unwrap();
    assert_eq!(
        on_node(kind, &format!("stat --format=%a {credentials}")).await,
        "600\n"
    );
    assert_eq!(
        on_node(kind, "systemctl is-active kmslab-plugin")
            .await
            .trim(),
        "active"
    );
    environment.shutdown().await.unwrap();
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_plugin_runs_as_a_static_pod() {
    let kind = KindOptions {
        plugin_form: PluginForm::StaticPod,
        ..KindOptions::default()
    };
    let environment = environment(kind).await;
    let outcome = scenario::run(scenarios::find("encrypt").unwrap(), &environment, None).await;
    assert_eq!(outcome.failure, None);
    let kind = environment.kind().unwrap();
    // Its readiness is polled every 5 s.
    let ready = "kubectl --kubeconfig=/etc/kubernetes/admin.conf --namespace=kube-system wait pod --selector=component=kms-plugin \
                 --for=condition=Ready --timeout=60s";
    assert!(on_node(kind, ready).await.contains("condition met"));
    let unit = on_node(kind, "systemctl is-active kmslab-plugin || true").await;
    assert_eq!(unit.trim(), "inactive");
    environment.shutdown().await.unwrap();
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_static_pod_that_fails_to_start_is_explained() {
    let kind = KindOptions {
        plugin_form: PluginForm::StaticPod,
        ..KindOptions::default()
    };
    let broken = EnvironmentSpec {
        plugin_args: vec!["--no-such-flag".into()],
        ..spec(kind)
    };
    let error = Environment::start(&broken, &NoProgress).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("unexpected argument '--no-such-flag'"),
        "{error}"
    );
    assert!(error.contains("logs are kept in"), "{error}");
}

async fn the_unit_is_as_the_guide_installs_it(kind: &KindCluster) {
    let verified = on_node(
        kind,
        "systemd-analyze verify --man=no kmslab-plugin.service kubelet.service 2>&1",
    )
    .await;
    let about_us: Vec<&str> = verified
        .lines()
        .filter(|line| line.contains("kmslab"))
        .collect();
    assert_eq!(about_us, Vec::<&str>::new());
    assert_eq!(
        on_node(kind, "systemctl is-active kmslab-plugin")
            .await
            .trim(),
        "active"
    );
    assert_eq!(
        on_node(kind, "systemctl is-enabled kmslab-plugin")
            .await
            .trim(),
        "enabled"
    );
    let displayed = on_node(
        kind,
        "systemctl show kmslab-plugin --property=Restart,RestartUSec,Type,After,Before",
    )
    .await;
    for expected in [
        "Restart=always",
        "RestartUSec=5s",
        "Type=notify",
        "kubelet.service",
    ] {
        assert!(displayed.contains(expected), "{expected} in {displayed}");
    }
    let log = on_node(kind, "journalctl --unit=kmslab-plugin --no-pager").await;
    assert!(log.contains("listening"), "{log}");
    let mode = on_node(
        kind,
        "stat --format=%a /var/run/kmsplugin/socket.sock /etc/kmslab/plugin.env",
    )
    .await;
    assert_eq!(mode, "600\n600\n");
}

/// The guide's own check (G12) on the node, also with a Secret from before encryption.
async fn etcdctl_shows_the_prefix(environment: &Environment, kind: &KindCluster) {
    let canary = Canary::new([5; 24]);
    environment
        .cluster
        .api()
        .create(&objects::secret("default", "secret1", 32, &canary))
        .await
        .unwrap();
    let tokens = environment
        .cluster
        .api()
        .list(&Resource::secrets(), Some("kube-system"))
        .await
        .unwrap();
    let token = tokens
        .iter()
        .filter_map(|secret| ObjectRef::from_object(&Resource::secrets(), secret));
    let token = token
        .into_iter()
        .find(|at| at.name.starts_with("bootstrap-token-"))
        .unwrap();
    for key in [
        "/registry/secrets/default/secret1".to_owned(),
        token.etcd_key(),
    ] {
        let etcdctl = "etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/server.crt \
                       --key=/etc/kubernetes/pki/etcd/server.key";
        let script = format!(
            "export KUBECONFIG=/etc/kubernetes/admin.conf; \
             kubectl --namespace=kube-system exec etcd-$(hostname) -- {etcdctl} get {key} | od -A x -t x1z"
        );
        let displayed = on_node(kind, &script).await;
        let text: String = displayed
            .lines()
            .filter_map(|line| line.split_once('>'))
            .map(|(_, text)| &text[..text.len() - 1])
            .collect();
        assert!(
            text.contains("k8s:enc:kms:v2:kmslab:"),
            "{key}: {displayed}"
        );
        assert!(!text.contains(&canary.text()), "{key}");
    }
}

/// etcd's file on the node compared with a snapshot by the API.
async fn the_database_file_holds_what_a_snapshot_holds(
    environment: &Environment,
    kind: &KindCluster,
) {
    // The snapshot first: etcd commits pending writes for it.
    let snapshot = environment.cluster.etcd().database().await.unwrap();
    let of_snapshot = value(snapshot).unwrap();
    let of_file = async {
        loop {
            let db = kind
                .engine()
                .exec_bytes(
                    kind.node(0).unwrap(),
                    &["cat", "/var/lib/etcd/member/snap/db"],
                )
                .await;
            // etcd writes while it is read, so a copy may be torn; take another one.
            if let Some(found) = value(db.unwrap()) {
                return found;
            }
        }
    };
    let of_file = tokio::time::timeout(Duration::from_secs(20), of_file)
        .await
        .unwrap();
    assert_eq!(of_file, of_snapshot);
    assert!(of_file.starts_with(b"k8s:enc:kms:v2:kmslab:"));
}

/// The value of the Secret `secret1` in a database.
fn value(database: Vec<u8>) -> Option<Vec<u8>> {
    let history = History::read(&Database::parse(database).ok()?).ok()?;
    history
        .live("/registry/secrets/default/secret1")
        .items
        .into_iter()
        .map(|stored| stored.value)
        .next()
}
