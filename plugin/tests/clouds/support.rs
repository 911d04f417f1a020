//! Shared by the tests of all clouds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use kmslab_kmsv2::socket::key_management_service_client::KeyManagementServiceClient;
use kmslab_kmsv2::socket::{DecryptRequest, EncryptRequest, EncryptResponse, StatusRequest};
use kmslab_plugin::kek::Kek;
use kmslab_plugin::{Plugin, RunningPlugin};
use tonic::transport::{Channel, Endpoint};

/// A running plugin and a client of its socket.
pub(crate) struct Lab {
    pub(crate) running: RunningPlugin,
    client: KeyManagementServiceClient<Channel>,
    _dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn start(kek: Arc<dyn Kek>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("kms.sock");
        let running = Plugin::builder(kek, &socket)
            .probe_interval(Duration::from_millis(20))
            .start()
            .await
            .unwrap();
        Self {
            running,
            client: connect(socket).await,
            _dir: dir,
        }
    }

    pub(crate) async fn status(&mut self) -> Result<String, tonic::Status> {
        self.client
            .status(StatusRequest {})
            .await
            .map(|answer| answer.into_inner().key_id)
    }

    pub(crate) async fn status_until(
        &mut self,
        what: &str,
        holds: impl Fn(&Result<String, tonic::Status>) -> bool,
    ) -> Result<String, tonic::Status> {
        for _ in 0..2000 {
            let answer = self.status().await;
            if holds(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("Status did not become {what}");
    }

    pub(crate) async fn encrypt(&mut self, plaintext: &[u8]) -> EncryptResponse {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: "u".into(),
        };
        self.client.encrypt(request).await.unwrap().into_inner()
    }

    pub(crate) async fn decrypt(
        &mut self,
        created: &EncryptResponse,
    ) -> Result<Vec<u8>, tonic::Status> {
        let EncryptResponse {
            ciphertext,
            key_id,
            annotations,
        } = created.clone();
        let request = DecryptRequest {
            ciphertext,
            uid: "u".into(),
            key_id,
            annotations,
        };
        self.client
            .decrypt(request)
            .await
            .map(|answer| answer.into_inner().plaintext)
    }
}

pub(crate) async fn connect(socket: PathBuf) -> KeyManagementServiceClient<Channel> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            tokio::net::UnixStream::connect(socket)
                .await
                .map(TokioIo::new)
        }
    });
    KeyManagementServiceClient::new(
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .unwrap(),
    )
}
