//! Failures on a kind node lose nothing: the plugin killed and stopped, the API server killed
//! meanwhile, the node restarted.

use std::time::Duration;

use kmslab::cluster::{ApiError, ObjectRef, Resource};
use kmslab::environment::{Environment, KindOptions};
use kmslab::scenario::{Canary, objects};
use tokio::time::{Instant, sleep, timeout};

use super::environment;

/// A kind environment, and the Secrets that its API server has accepted.
struct Lab {
    environment: Environment,
    accepted: Vec<(ObjectRef, String)>,
    tried: u32,
}

impl Lab {
    async fn new() -> Self {
        Self {
            environment: environment(KindOptions::default()).await,
            accepted: Vec::new(),
            tried: 0,
        }
    }

    /// Writes another Secret.
    async fn write(&mut self) -> Result<(), ApiError> {
        self.tried += 1;
        let canary = Canary::new(std::array::from_fn(|n| {
            (self.tried >> (n % 4 * 8)) as u8 ^ n as u8
        }));
        let secret = objects::secret("default", &format!("secret-{}", self.tried), 64, &canary);
        let written = self.environment.cluster.api().create(&secret).await?;
        let at = ObjectRef::from_object(&Resource::secrets(), &secret).unwrap();
        self.accepted.push((at, objects::content(&written)));
        Ok(())
    }

    /// Every accepted Secret reads as it was written and is encrypted in etcd.
    async fn none_is_lost(&self) {
        for (at, content) in &self.accepted {
            let read = self
                .environment
                .cluster
                .api()
                .get(at)
                .await
                .unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(objects::content(&read), *content, "{at}");
            let stored = self
                .environment
                .cluster
                .etcd()
                .get(&at.etcd_key())
                .await
                .unwrap()
                .unwrap();
            assert!(stored.value.starts_with(b"k8s:enc:kms:v2:kmslab:"), "{at}");
        }
    }

    async fn on_node(&self, command: &str) -> String {
        let kind = self.environment.kind().unwrap();
        let message = kind
            .engine()
            .exec(kind.node(0).unwrap(), &["bash", "-c", command])
            .await
            .unwrap();
        message.trim().to_owned()
    }

    async fn restarts_of_the_plugin(&self) -> u32 {
        self.on_node("systemctl show kmslab-plugin --property=NRestarts --value")
            .await
            .parse()
            .unwrap()
    }

    async fn health(&self, path: &str) -> u16 {
        self.environment
            .cluster
            .health(path)
            .await
            .map_or(0, |health| health.status)
    }

    /// Waits until the plugin's Status is ok; returns how long that took.
    async fn until_the_plugin_is_well(&self, patience: Duration) -> Duration {
        let since = Instant::now();
        let well = async {
            while self.environment.plugin.key_id().await.is_err() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(patience, well)
            .await
            .expect("the plugin does not come back");
        since.elapsed()
    }
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_killed_plugin_and_restarted_node_lose_nothing() {
    let mut lab = Lab::new().await;
    lab.write().await.unwrap();

    // Killed: systemd restarts it. The API server keeps its seed meanwhile, so only the socket
    // shows the gap.
    let before = lab.restarts_of_the_plugin().await;
    lab.on_node("systemctl kill --signal=KILL kmslab-plugin")
        .await;
    let mut rejected = 0;
    let since = Instant::now();
    while rejected == 0 || lab.environment.plugin.key_id().await.is_err() {
        rejected += u32::from(lab.environment.plugin.key_id().await.is_err());
        lab.write().await.unwrap();
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "killed {:?} ago, {rejected} calls refused",
            since.elapsed()
        );
    }
    assert_eq!(lab.restarts_of_the_plugin().await, before + 1);
    lab.none_is_lost().await;

    // The node restarted: plugin, kubelet and API server start again by themselves.
    let boot = lab
        .on_node("systemctl show --property=UserspaceTimestampMonotonic --value")
        .await;
    let kind = lab.environment.kind().unwrap();
    kind.engine()
        .run(&["restart", kind.node(0).unwrap()])
        .await
        .unwrap();
    lab.until_the_plugin_is_well(Duration::from_secs(60)).await;
    lab.environment.cluster.wait_until_ready().await.unwrap();
    assert_ne!(
        lab.on_node("systemctl show --property=UserspaceTimestampMonotonic --value")
            .await,
        boot
    );
    // The API server responds before it has loaded the RBAC rules.
    let since = Instant::now();
    while let Err(error) = lab.write().await {
        assert!(
            error.status == 403 && since.elapsed() < Duration::from_secs(20),
            "{error}"
        );
    }
    lab.none_is_lost().await;
    lab.environment.shutdown().await.unwrap();
}

#[ignore = "tier kind: needs a container engine, and a node image, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn kind_stopped_plugin_stops_writes_after_three_minutes() {
    let mut lab = Lab::new().await;
    lab.write().await.unwrap();
    lab.on_node("systemctl stop kmslab-plugin").await;
    let since = Instant::now();
    let mut unready = None;
    // Writes continue with the API server's seed until it expires, three minutes after its last
    // successful Status.
    let error = loop {
        if let Err(error) = lab.write().await {
            break error;
        }
        if unready.is_none() && lab.health("/readyz").await == 500 {
            unready = Some(since.elapsed());
        }
        assert_eq!(
            lab.health("/livez").await,
            200,
            "a dead plugin is not a reason to restart the API server"
        );
        assert!(
            since.elapsed() < Duration::from_secs(240),
            "writes go on without the plugin"
        );
        sleep(Duration::from_secs(1)).await;
    };
    let stopped = since.elapsed();
    assert_eq!(error.status, 500, "{error}");
    assert!(
        error.message.contains("encryptedDEKSource with keyID hash")
            && error.message.contains("expired at"),
        "{error}"
    );
    assert!(stopped > Duration::from_secs(150), "{stopped:?}");
    assert!(
        unready.is_some_and(|unready| unready < Duration::from_secs(60)),
        "{unready:?}"
    );
    lab.none_is_lost().await;

    lab.on_node("systemctl start kmslab-plugin").await;
    lab.until_the_plugin_is_well(Duration::from_secs(20)).await;
    let writes = async {
        while lab.write().await.is_err() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(60), writes)
        .await
        .expect("writes do not come back");
    lab.none_is_lost().await;

    // Killed while the plugin is down, the API server has no seed: it can neither read nor write
    // encrypted objects.
    lab.on_node("systemctl stop kmslab-plugin").await;
    lab.environment.cluster.kill_server().await.unwrap();
    lab.environment.cluster.start_server().await.unwrap();
    let rejected = lab.write().await.unwrap_err();
    assert!(
        rejected.message.contains("got unexpected nil transformer"),
        "{rejected}"
    );
    let read = lab
        .environment
        .cluster
        .api()
        .get(&lab.accepted[0].0)
        .await
        .unwrap_err();
    assert!(
        read.message.contains("got unexpected nil transformer"),
        "{read}"
    );
    lab.on_node("systemctl start kmslab-plugin").await;
    lab.until_the_plugin_is_well(Duration::from_secs(20)).await;
    lab.environment.cluster.wait_until_ready().await.unwrap();
    lab.write().await.unwrap();
    lab.none_is_lost().await;
    lab.environment.shutdown().await.unwrap();
}
