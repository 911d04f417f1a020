//! `v2.KeyManagementService`: validates requests and labels responses. It knows no cloud.

use std::collections::BTreeMap;
use std::sync::Arc;

use kmslab_kmsv2::socket::key_management_service_server::KeyManagementService;
use kmslab_kmsv2::socket::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use kmslab_kmsv2::{API_VERSION, HEALTHY, limits};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::error::{RequestError, ServiceError};
use crate::metrics::{Metrics, Operation};
use crate::monitor::{KeyMonitor, Snapshot};
use crate::socket::SocketHealth;
use kmslab_kmsv2::label::{ANNOTATION, Label, parse_annotation};

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) monitor: Arc<KeyMonitor>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) killed: CancellationToken,
    pub(crate) standing: SocketHealth,
}

impl Service {
    /// What Status and `/readyz` return now, without waiting.
    pub(crate) fn health_now(&self) -> Result<Arc<Snapshot>, ServiceError> {
        self.ensure_socket_bound()?;
        self.monitor.health_now()
    }

    /// Fails while the socket cannot be connected to. Connected clients would not notice until
    /// their connection ends.
    pub(crate) fn ensure_socket_bound(&self) -> Result<(), ServiceError> {
        self.standing
            .failure()
            .map_or(Ok(()), |failure| Err(ServiceError::Socket(failure)))
    }

    async fn encrypt_dek_seed(&self, plaintext: &[u8]) -> Result<EncryptResponse, ServiceError> {
        let (length, most) = (plaintext.len(), self.monitor.max_plaintext());
        if plaintext.is_empty() {
            return Err(RequestError::PlaintextEmpty.into());
        }
        if length > most {
            return Err(RequestError::PlaintextTooLong(length, most).into());
        }
        let (ciphertext, snapshot) = self.monitor.encrypt(plaintext).await?;
        limits::check_encrypted_dek_source(&ciphertext)
            .map_err(|limit| RequestError::CiphertextTooLong(length, limit))?;
        Ok(EncryptResponse {
            ciphertext,
            key_id: snapshot.key_id.clone(),
            annotations: BTreeMap::from([(ANNOTATION.to_owned(), snapshot.annotation.clone())]),
        })
    }

    async fn decrypt_dek_seed(
        &self,
        request: &DecryptRequest,
    ) -> Result<Zeroizing<Vec<u8>>, ServiceError> {
        let label = self.check(request)?;
        self.monitor
            .decrypt(&request.ciphertext, &label.key_version())
            .await
    }

    /// Only the ciphertext of a request is sent to the cloud: the key name in it is compared, never
    /// used.
    fn check(&self, request: &DecryptRequest) -> Result<Label, RequestError> {
        limits::check_encrypted_dek_source(&request.ciphertext)
            .map_err(RequestError::Ciphertext)?;
        limits::check_key_id(&request.key_id).map_err(RequestError::KeyId)?;
        limits::check_annotations(&request.annotations).map_err(RequestError::Annotations)?;
        let annotation = request
            .annotations
            .get(ANNOTATION)
            .ok_or(RequestError::Unlabelled)?;
        let label = parse_annotation(annotation).map_err(RequestError::Label)?;
        let named = label.key_id();
        if named != request.key_id {
            return Err(RequestError::Mislabelled(request.key_id.clone(), named));
        }
        let provider = self.monitor.provider();
        if label.provider != provider {
            return Err(RequestError::OtherProvider(label.provider, provider));
        }
        Ok(label)
    }

    /// Runs a call until it is done or the plugin is killed; counts, times and logs it.
    async fn run_call<T>(
        &self,
        operation: Operation,
        uid: &str,
        work: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<Response<T>, Status> {
        let call = self.metrics.begin(operation);
        let result = match self.killed.run_until_cancelled(work).await {
            Some(result) => result,
            None => Err(ServiceError::Killed),
        };
        let code = result
            .as_ref()
            .err()
            .map_or(tonic::Code::Ok, ServiceError::code);
        call.end(code);
        match &result {
            Ok(_) => tracing::debug!(operation = operation.name(), uid, "ok"),
            Err(error) => {
                tracing::warn!(operation = operation.name(), uid, ?code, "{error}")
            }
        }
        Ok(Response::new(result?))
    }
}

#[tonic::async_trait]
impl KeyManagementService for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let work = async {
            self.ensure_socket_bound()?;
            let snapshot = self.monitor.health().await?;
            Ok(StatusResponse {
                version: API_VERSION.into(),
                healthz: HEALTHY.into(),
                key_id: snapshot.key_id.clone(),
            })
        };
        self.run_call(Operation::Status, "", work).await
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let EncryptRequest { plaintext, uid } = request.into_inner();
        let plaintext = Zeroizing::new(plaintext);
        self.run_call(Operation::Encrypt, &uid, self.encrypt_dek_seed(&plaintext))
            .await
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let request = request.into_inner();
        let work = async {
            let mut plaintext = self.decrypt_dek_seed(&request).await?;
            Ok(DecryptResponse {
                plaintext: std::mem::take(&mut *plaintext),
            })
        };
        self.run_call(Operation::Decrypt, &request.uid, work).await
    }
}
