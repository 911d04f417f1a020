//! The model with a scripted plugin: a gRPC server on a unix socket whose responses the test
//! controls.

mod api;
mod health;
mod keys;
mod reload;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kmslab_kmsv2::socket::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use kmslab_kmsv2::socket::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use kmslab_kmsv2::stored::{self, EncryptedObject};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::super::{Api, ApiError, Cluster, ObjectRef, Provider, Resource};
use super::{Config, EmbeddedCluster, ReadOutcome, Sabotage};
use crate::clock::VirtualClock;
use crate::etcd::Etcd;

/// What the plugin returns, and how often it was called.
#[derive(Debug, Default)]
struct Script {
    key_id: String,
    /// The key id of Encrypt, if it differs from Status.
    encrypt_key_id: Option<String>,
    healthz: String,
    version: String,
    annotations: Vec<(String, Vec<u8>)>,
    /// The error of all calls.
    down: Option<Status>,
    /// The error of Decrypt for this key id.
    deleted: Option<(String, Status)>,
    /// Status never returns.
    hangs: bool,
    statuses: usize,
    encrypts: usize,
    decrypts: usize,
}

#[derive(Debug, Clone, Default)]
struct Plugin(Arc<Mutex<Script>>);

impl Plugin {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn encrypts_decrypts(&self) -> (usize, usize) {
        let script = self.script();
        (script.encrypts, script.decrypts)
    }
}

#[tonic::async_trait]
impl KeyManagementService for Plugin {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        if self.script().hangs {
            std::future::pending::<()>().await;
        }
        let mut script = self.script();
        script.statuses += 1;
        if let Some(down) = &script.down {
            return Err(down.clone());
        }
        let (version, healthz, key_id) = (
            script.version.clone(),
            script.healthz.clone(),
            script.key_id.clone(),
        );
        Ok(Response::new(StatusResponse {
            version,
            healthz,
            key_id,
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let mut script = self.script();
        script.encrypts += 1;
        if let Some(down) = &script.down {
            return Err(down.clone());
        }
        let key_id = script
            .encrypt_key_id
            .clone()
            .unwrap_or_else(|| script.key_id.clone());
        let ciphertext = request
            .into_inner()
            .plaintext
            .iter()
            .rev()
            .map(|byte| byte ^ 0x55)
            .collect();
        let annotations = script.annotations.iter().cloned().collect();
        Ok(Response::new(EncryptResponse {
            ciphertext,
            key_id,
            annotations,
        }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let mut script = self.script();
        script.decrypts += 1;
        let request = request.into_inner();
        let deleted = script
            .deleted
            .as_ref()
            .filter(|(key_id, _)| *key_id == request.key_id)
            .map(|(_, status)| status);
        if let Some(refusal) = script.down.as_ref().or(deleted) {
            return Err(refusal.clone());
        }
        let plaintext = request
            .ciphertext
            .iter()
            .rev()
            .map(|byte| byte ^ 0x55)
            .collect();
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}

/// A cluster with its scripted plugin.
struct Lab {
    dir: tempfile::TempDir,
    plugin: Plugin,
    serving: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<()>)>,
    cluster: EmbeddedCluster,
}

impl Lab {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plugin = Plugin::default();
        *plugin.script() = Script {
            key_id: "k1".into(),
            healthz: "ok".into(),
            version: "v2".into(),
            ..Script::default()
        };
        let serving = Some(serve(&dir.path().join("kms.sock"), &plugin));
        let clock = VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let mut config = Config::new(clock, dir.path().join("kms.sock"), "p1");
        change(&mut config);
        let cluster = EmbeddedCluster::start(config).await.unwrap();
        Self {
            dir,
            plugin,
            serving,
            cluster,
        }
    }

    /// Stops the plugin; its socket file stays.
    async fn stop_plugin(&mut self) {
        let (stop, task) = self.serving.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    fn start_plugin(&mut self) {
        std::fs::remove_file(self.dir.path().join("kms.sock")).unwrap();
        self.serving = Some(serve(&self.dir.path().join("kms.sock"), &self.plugin));
    }

    async fn pass(&self, seconds: u64) {
        self.cluster
            .advance_time(Duration::from_secs(seconds))
            .await;
    }

    fn api(&self) -> Arc<dyn Api> {
        self.cluster.api()
    }

    fn etcd(&self) -> Arc<dyn Etcd> {
        self.cluster.etcd()
    }

    async fn create(&self, name: &str) -> Result<Value, ApiError> {
        self.api().create(&secret(name)).await
    }

    async fn restart(&self) {
        self.cluster.kill_server().await.unwrap();
        self.cluster.start_server().await.unwrap();
    }

    async fn stored(&self, name: &str) -> EncryptedObject {
        let value = self
            .etcd()
            .get(&at(name).etcd_key())
            .await
            .unwrap()
            .unwrap()
            .value;
        let (provider, payload) = stored::split(&value).unwrap();
        assert_eq!(provider, "p1");
        stored::decode(payload).unwrap()
    }

    async fn plaintext(&self, at: &ObjectRef) -> Vec<u8> {
        let server = self.cluster.shared.server().unwrap();
        let live = self.cluster.shared.store.live(&at.etcd_key()).unwrap();
        server
            .decrypt(&at.resource, &at.etcd_key(), &live)
            .await
            .unwrap()
            .plaintext
            .to_vec()
    }
}

fn serve(socket: &Path, plugin: &Plugin) -> (tokio::sync::oneshot::Sender<()>, JoinHandle<()>) {
    let listener = UnixListener::bind(socket).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let service = KeyManagementServiceServer::new(plugin.clone());
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    (stop, tokio::spawn(async { server.await.unwrap() }))
}

fn secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"},
        "stringData": {"password": "canary-7f3a"}
    })
}

fn at(name: &str) -> ObjectRef {
    ObjectRef::new(Resource::secrets(), Some("default"), name)
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

fn has(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}
