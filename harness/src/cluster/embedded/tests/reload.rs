//! Reload: provider lists that change while the server runs, and which provider writes and reads
//! then.

use super::super::super::Encryption;
use super::*;

/// A second plugin, `p2`, with a key of its own.
struct Second {
    plugin: Plugin,
    dir: tempfile::TempDir,
}

impl Second {
    fn new() -> Self {
        let plugin = Plugin::default();
        *plugin.script() = Script {
            key_id: "other".into(),
            healthz: "ok".into(),
            version: "v2".into(),
            ..Script::default()
        };
        Self {
            plugin,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn serve(&self) -> (tokio::sync::oneshot::Sender<()>, JoinHandle<()>) {
        serve(&self.dir.path().join("kms.sock"), &self.plugin)
    }

    fn provider(&self) -> Provider {
        Provider::kms("p2", self.dir.path().join("kms.sock"))
    }
}

fn first(lab: &Lab) -> Provider {
    Provider::kms("p1", lab.dir.path().join("kms.sock"))
}

fn list(providers: Vec<Provider>) -> Encryption {
    Encryption {
        resources: vec!["secrets".into(), "configmaps".into()],
        providers,
    }
}

async fn written_by(lab: &Lab, name: &str) -> String {
    let value = lab
        .etcd()
        .get(&at(name).etcd_key())
        .await
        .unwrap()
        .unwrap()
        .value;
    stored::split(&value).map_or_else(|| "nobody".into(), |(provider, _)| provider.to_owned())
}

#[tokio::test]
async fn first_provider_of_a_new_list_writes_and_other_values_are_stale() {
    let (lab, second) = (Lab::new().await, Second::new());
    let _serving = second.serve();
    lab.create("before").await.unwrap();

    lab.cluster
        .reconfigure(list(vec![
            first(&lab),
            second.provider(),
            Provider::Identity,
        ]))
        .await
        .unwrap();
    lab.create("reader-added").await.unwrap();
    assert_eq!(written_by(&lab, "reader-added").await, "p1");
    assert_eq!(
        lab.cluster.read_outcome(&at("before")).await.unwrap(),
        ReadOutcome::Fresh
    );

    lab.cluster
        .reconfigure(list(vec![
            second.provider(),
            first(&lab),
            Provider::Identity,
        ]))
        .await
        .unwrap();
    lab.create("writer-changed").await.unwrap();
    assert_eq!(written_by(&lab, "writer-changed").await, "p2");
    assert_eq!(lab.cluster.write_key_id().unwrap(), "other");
    for name in ["before", "reader-added"] {
        assert_eq!(
            lab.cluster.read_outcome(&at(name)).await.unwrap(),
            ReadOutcome::Stale
        );
        lab.api().touch(&at(name)).await.unwrap();
        assert_eq!(written_by(&lab, name).await, "p2");
        assert_eq!(
            lab.cluster.read_outcome(&at(name)).await.unwrap(),
            ReadOutcome::Fresh
        );
    }

    lab.cluster
        .reconfigure(list(vec![second.provider()]))
        .await
        .unwrap();
    let statuses = lab.plugin.script().statuses;
    lab.pass(300).await;
    assert_eq!(
        lab.plugin.script().statuses,
        statuses,
        "a plugin that is not configured any more is not polled"
    );
    for name in ["before", "reader-added", "writer-changed"] {
        lab.api().get(&at(name)).await.unwrap();
    }
    // A restart reads the current configuration.
    lab.restart().await;
    assert_eq!(
        lab.cluster.read_outcome(&at("before")).await.unwrap(),
        ReadOutcome::Fresh
    );
}

#[tokio::test]
async fn new_list_is_not_used_until_its_plugins_respond() {
    let (lab, second) = (Lab::new().await, Second::new());
    let rejected = lab
        .cluster
        .reconfigure(list(vec![second.provider(), first(&lab)]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        rejected.contains("goes on with the providers before"),
        "{rejected}"
    );
    assert!(
        rejected.contains("health check for new transformers failed: kms-provider-0: "),
        "{rejected}"
    );
    lab.create("still").await.unwrap();
    assert_eq!(written_by(&lab, "still").await, "p1");
    assert_eq!(
        lab.cluster
            .health("/readyz/kms-providers")
            .await
            .unwrap()
            .status,
        200
    );

    let _serving = second.serve();
    lab.pass(60).await;
    lab.create("now").await.unwrap();
    assert_eq!(written_by(&lab, "now").await, "p2");
}

#[tokio::test]
async fn list_that_kube_apiserver_rejects_is_rejected() {
    let lab = Lab::new().await;
    let twice = list(vec![first(&lab), first(&lab)]);
    let error = lab
        .cluster
        .reconfigure(twice)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("must be unique"), "{error}");
    lab.create("s").await.unwrap();
}

#[tokio::test]
async fn every_unhealthy_plugin_is_named() {
    let (lab, second) = (Lab::new().await, Second::new());
    let _serving = second.serve();
    lab.cluster
        .reconfigure(list(vec![first(&lab), second.provider()]))
        .await
        .unwrap();
    for plugin in [&lab.plugin, &second.plugin] {
        plugin.script().down = Some(Status::unavailable("gone"));
    }
    lab.pass(61).await;
    let health = lab.cluster.health("/readyz/kms-providers").await.unwrap();
    assert_eq!(health.status, 500);
    assert!(
        health
            .body
            .starts_with("internal server error: [kms-provider-0: "),
        "{}",
        health.body
    );
    assert!(
        health.body.contains(", kms-provider-1: "),
        "{}",
        health.body
    );
}
