//! The cluster `apiserver` with the stock kube-apiserver and etcd, without a plugin.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use kmslab::assets::{Assets, Options, Tool};
use kmslab::cluster::apiserver::{
    ApiServerCluster, Config, Programs, ReadyCondition, StartError, default_resources,
};
use kmslab::cluster::{Cluster, Encryption, ObjectRef, Resource};
use kmslab::runtime_dir::{Roots, RuntimeDir};
use kmslab::scenario::objects::{widget_definition, widgets};
use kmslab::service::RestartPolicy;
use serde_json::{Value, json};

/// The pinned programs, installed by tests/run.
fn tools() -> Programs {
    let found = Assets::from_env(&Options::default())
        .find_installed(&[Tool::KubeApiserver, Tool::Etcd])
        .unwrap();
    let path = |n: usize| {
        let (tool, found) = &found[n];
        found
            .as_ref()
            .unwrap_or_else(|| panic!("no {}: `kmslab assets install` gets it", tool.file()))
            .path
            .clone()
    };
    Programs {
        kube_apiserver: path(0),
        etcd: path(1),
    }
}

/// A lab's directory and a cluster configuration in it.
fn config(encryption: Encryption) -> (tempfile::TempDir, Config) {
    let temp = tempfile::Builder::new()
        .prefix("kmslab-")
        .tempdir_in("/tmp")
        .unwrap();
    let roots = Roots {
        runtime: vec![temp.path().join("run")],
        state: temp.path().join("state"),
    };
    let dir = Arc::new(RuntimeDir::create_in(&roots, "x").unwrap());
    let kmslab = Some(env!("CARGO_BIN_EXE_kmslab").into());
    (
        temp,
        Config {
            kmslab,
            ..Config::new(tools(), dir, encryption)
        },
    )
}

fn secret(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "stringData": {"v": value}})
}

fn at(name: &str) -> ObjectRef {
    ObjectRef::new(Resource::secrets(), Some("default"), name)
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn cluster_serves_survives_a_crash_and_leaves_nothing() {
    let (_temp, config) = config(Encryption::identity(default_resources().unwrap()));
    let path = config.dir.path().to_owned();
    let cluster = ApiServerCluster::start(config).await.unwrap();
    assert!(
        cluster.kubernetes().starts_with("v1."),
        "{}",
        cluster.kubernetes()
    );
    assert!(cluster.health("/readyz").await.unwrap().ok());
    let api = cluster.api();

    // Objects: create, read, conflict, replace, no-op write, delete.
    let created = api.create(&secret("s1", "canary")).await.unwrap();
    assert_eq!(api.get(&at("s1")).await.unwrap()["data"]["v"], "Y2FuYXJ5");
    let rejected = api.create(&secret("s1", "again")).await.unwrap_err();
    assert_eq!(
        (rejected.status, rejected.reason.as_str()),
        (409, "AlreadyExists")
    );
    let version = created["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(
        api.touch(&at("s1")).await.unwrap(),
        version,
        "nothing is stale"
    );
    let replaced = api.replace(&secret("s1", "other")).await.unwrap();
    assert_ne!(replaced["metadata"]["resourceVersion"], *version);
    let rejected = api.replace(&created).await.unwrap_err();
    assert_eq!(
        (rejected.status, rejected.reason.as_str()),
        (409, "Conflict")
    );
    let rejected = api.create(&json!({"kind": "Secret"})).await.unwrap_err();
    assert_eq!(rejected.status, 400);

    // etcd, by key and by prefix.
    let stored = cluster
        .etcd()
        .get(&at("s1").etcd_key())
        .await
        .unwrap()
        .unwrap();
    assert!(
        stored.value.starts_with(b"k8s\0") && stored.value.windows(5).any(|part| part == b"other")
    );

    // More than one page; items have their kind.
    for batch in (0..520).collect::<Vec<_>>().chunks(20) {
        let creates = batch.iter().map(|n| {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{n}")}});
            let api = Arc::clone(&api);
            async move { api.create(&object).await }
        });
        futures::future::try_join_all(creates).await.unwrap();
    }
    let listed = api
        .list(&Resource::config_maps(), Some("default"))
        .await
        .unwrap();
    assert!(
        listed.len() >= 520
            && listed
                .iter()
                .all(|item| item["kind"] == "ConfigMap" && item["apiVersion"] == "v1")
    );

    // A custom resource right after its definition.
    let unknown =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    assert_eq!(api.create(&unknown).await.unwrap_err().status, 404);
    api.create(&widget_definition()).await.unwrap();
    api.create(&unknown).await.unwrap();
    let stored = cluster
        .etcd()
        .range(&widgets().etcd_prefix())
        .await
        .unwrap();
    assert_eq!(stored.items.len(), 1);

    // A crash: no response, then everything as before, on the same port.
    let (pid, url) = (
        cluster.server_pid(0).unwrap(),
        cluster.description().servers[0].clone(),
    );
    cluster.kill_server().await.unwrap();
    assert_eq!(cluster.server_pid(0), None);
    assert_eq!(api.get(&at("s1")).await.unwrap_err().status, 0);
    cluster.start_server().await.unwrap();
    assert_ne!(cluster.server_pid(0).unwrap(), pid);
    assert_eq!(cluster.description().servers[0], url);
    assert_eq!(
        api.get(&at("s1")).await.unwrap()["metadata"],
        replaced["metadata"]
    );
    assert_eq!(api.list(&widgets(), None).await.unwrap().len(), 1);
    api.delete(&at("s1")).await.unwrap();
    assert_eq!(api.get(&at("s1")).await.unwrap_err().reason, "NotFound");

    let pids = pids(&path);
    assert_eq!(pids.len(), 2);
    cluster.shutdown().await.unwrap();
    for pid in pids {
        assert_eq!(kmslab::platform::start_time(pid).unwrap(), None);
    }
    drop(cluster);
    assert!(!path.exists());
}

fn pids(lab: &std::path::Path) -> Vec<u32> {
    let state = kmslab::runtime_dir::LabState::read(lab).unwrap();
    state
        .processes
        .values()
        .map(|process| process.pid)
        .collect()
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn server_without_plugin_is_alive_but_not_ready() {
    let temp = tempfile::tempdir().unwrap();
    let (_temp, config) = config(Encryption::kms(
        "absent",
        temp.path().join("kms.sock"),
        default_resources().unwrap(),
    ));
    let cluster = ApiServerCluster::start(Config {
        ready: ReadyCondition::Alive,
        ..config
    })
    .await
    .unwrap();
    for crashed in [false, true] {
        if crashed {
            cluster.kill_server().await.unwrap();
            cluster.start_server().await.unwrap();
        }
        let ready = cluster.health("/readyz/kms-providers").await.unwrap();
        assert_eq!(ready.status, 500, "{}", ready.body);
        let rejected = cluster.api().create(&secret("s1", "x")).await.unwrap_err();
        assert_eq!(rejected.status, 500, "{rejected}");
        assert!(
            rejected.message.contains("got unexpected nil transformer"),
            "{rejected}"
        );
        cluster
            .api()
            .list(&Resource::namespaces(), None)
            .await
            .unwrap();
    }
    cluster.shutdown().await.unwrap();
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn rejected_encryption_configuration_is_reported_as_the_cause() {
    let (_temp, config) = config(Encryption::kms(
        "with:colon",
        "/tmp/kms.sock",
        default_resources().unwrap(),
    ));
    let error = ApiServerCluster::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Process { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("cause: the EncryptionConfiguration is rejected"),
        "{text}"
    );
    assert!(
        text.contains("with:colon") && text.contains("kube-apiserver.log"),
        "{text}"
    );
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn attached_process_can_kill_and_start_servers() {
    let (_temp, config) = config(Encryption::identity(default_resources().unwrap()));
    let config = Config {
        keep: RestartPolicy::Always,
        api_servers: 2,
        ..config
    };
    let lab = ApiServerCluster::start(config).await.unwrap();
    let described = serde_json::to_string(lab.description()).unwrap();
    let attached = ApiServerCluster::attach(serde_json::from_str(&described).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (attached.api_servers(), attached.kubernetes()),
        (2, lab.kubernetes())
    );
    attached.api().create(&secret("s1", "x")).await.unwrap();
    attached
        .api_of(1)
        .unwrap()
        .get_path(&at("s1").path())
        .await
        .unwrap();

    let pid = attached.server_pid(0).unwrap();
    attached.kill_server().await.unwrap();
    assert_eq!(attached.server_pid(0), None);
    attached.advance_time(Duration::from_millis(500)).await;
    assert_eq!(
        lab.server_pid(0),
        None,
        "held down for as long as the other process wants"
    );
    attached.start_server().await.unwrap();
    assert_ne!(attached.server_pid(0).unwrap(), pid);
    attached.api().get(&at("s1")).await.unwrap();

    attached.shutdown().await.unwrap();
    lab.api().get(&at("s1")).await.unwrap();
    lab.shutdown().await.unwrap();
}
