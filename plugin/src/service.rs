//! `v2.KeyManagementService`: validates requests and labels responses. It knows no cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kmslab_kmsv2::socket::key_management_service_server::KeyManagementService;
use kmslab_kmsv2::socket::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use kmslab_kmsv2::{API_VERSION, HEALTHY, limits};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::error::{RequestError, to_status};
use crate::kek::{Kek, Wrapped};
use crate::key_id::{ANNOTATION, Label, parse_annotation};
use crate::metrics::{Metrics, Operation};
use crate::monitor::{KeyMonitor, Snapshot};
use crate::socket::SocketHealth;

/// Maximum attempts of an Encrypt while the key rotates.
const ENCRYPT_ATTEMPTS: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) status: AtomicU64,
    pub(crate) encrypt: AtomicU64,
    pub(crate) decrypt: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

/// A call in progress, until dropped.
struct InFlightGuard(Arc<Calls>);

impl InFlightGuard {
    fn enter(calls: &Arc<Calls>, counter: impl Fn(&Calls) -> &AtomicU64) -> Self {
        counter(calls).fetch_add(1, Ordering::Relaxed);
        calls.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) kek: Arc<dyn Kek>,
    pub(crate) current: Arc<KeyMonitor>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) killed: CancellationToken,
    pub(crate) standing: SocketHealth,
}

impl Service {
    /// What Status and `/readyz` return now, without waiting.
    pub(crate) fn health_now(&self) -> Result<Arc<Snapshot>, Status> {
        self.ensure_socket_bound()?;
        self.current.health_now()
    }

    /// Fails while the socket cannot be connected to. Connected clients would not notice until
    /// their connection ends.
    pub(crate) fn ensure_socket_bound(&self) -> Result<(), Status> {
        self.standing
            .failure()
            .map_or(Ok(()), |failure| Err(Status::unavailable(failure.as_str())))
    }

    async fn encrypt_dek_seed(&self, plaintext: &[u8]) -> Result<EncryptResponse, Status> {
        if plaintext.is_empty() {
            return Err(RequestError::PlaintextEmpty.into());
        }
        if plaintext.len() > self.kek.max_plaintext() {
            return Err(
                RequestError::PlaintextTooLong(plaintext.len(), self.kek.max_plaintext()).into(),
            );
        }
        let mut snapshot = self.current.require().await?;
        for _ in 0..ENCRYPT_ATTEMPTS {
            let wrapped = self.wrap(plaintext).await?;
            if wrapped.version != snapshot.version {
                self.current.refresh(Some(&snapshot)).await;
                snapshot = self.current.require().await?;
            }
            if wrapped.version == snapshot.version {
                return response(wrapped, &snapshot, plaintext.len());
            }
        }
        Err(Status::unavailable(format!(
            "the cloud answered {ENCRYPT_ATTEMPTS} times with another version of the key than the current one, {}: it is \
             rotating; try again in a few seconds",
            snapshot.version.version
        )))
    }

    async fn wrap(&self, plaintext: &[u8]) -> Result<Wrapped, Status> {
        let started = self.current.now();
        match self.kek.wrap(plaintext).await {
            Ok(wrapped) => {
                self.current.verified(started);
                Ok(wrapped)
            }
            Err(error) => {
                self.current.failed(&error, started);
                Err(to_status(&error))
            }
        }
    }

    async fn decrypt_dek_seed(
        &self,
        request: &DecryptRequest,
    ) -> Result<Zeroizing<Vec<u8>>, Status> {
        let label = self.check(request)?;
        let started = self.current.now();
        let version = label.key_version();
        self.kek
            .unwrap(&request.ciphertext, &version)
            .await
            .map_err(|error| {
                // New data does not depend on an older version, and whoever wrote the data chose
                // its label.
                let current = self
                    .current
                    .snapshot()
                    .is_some_and(|snapshot| snapshot.version == version);
                if current || error.version().is_none() {
                    self.current.failed(&error, started);
                }
                to_status(&error)
            })
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
        if label.provider != self.kek.provider() {
            return Err(RequestError::OtherProvider(
                label.provider,
                self.kek.provider(),
            ));
        }
        Ok(label)
    }

    /// Runs a call until it is done or the plugin is killed; counts, times and logs it.
    async fn run_call<T>(
        &self,
        operation: Operation,
        uid: &str,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, Status> {
        let started = tokio::time::Instant::now();
        let result = match self.killed.run_until_cancelled(work).await {
            Some(result) => result,
            None => Err(Status::unavailable("the plugin is gone")),
        };
        let code = result.as_ref().err().map_or(tonic::Code::Ok, Status::code);
        self.metrics.request(operation, code, started.elapsed());
        match &result {
            Ok(_) => tracing::debug!(operation = operation.name(), uid, "ok"),
            Err(status) => {
                tracing::warn!(operation = operation.name(), uid, code = ?status.code(), "{}", status.message())
            }
        }
        result.map(Response::new)
    }
}

fn response(
    wrapped: Wrapped,
    snapshot: &Snapshot,
    plaintext: usize,
) -> Result<EncryptResponse, Status> {
    if let Err(limit) = limits::check_encrypted_dek_source(&wrapped.ciphertext) {
        return Err(Status::invalid_argument(format!(
            "plaintext of {plaintext} bytes is too long, kube-apiserver would refuse its ciphertext: {limit}"
        )));
    }
    Ok(EncryptResponse {
        ciphertext: wrapped.ciphertext,
        key_id: snapshot.key_id.clone(),
        annotations: BTreeMap::from([(ANNOTATION.to_owned(), snapshot.annotation.clone())]),
    })
}

#[tonic::async_trait]
impl KeyManagementService for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let _call = InFlightGuard::enter(&self.calls, |calls| &calls.status);
        let work = async {
            self.ensure_socket_bound()?;
            let snapshot = self.current.health().await?;
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
        let _call = InFlightGuard::enter(&self.calls, |calls| &calls.encrypt);
        let EncryptRequest { plaintext, uid } = request.into_inner();
        let plaintext = Zeroizing::new(plaintext);
        self.run_call(Operation::Encrypt, &uid, self.encrypt_dek_seed(&plaintext))
            .await
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let _call = InFlightGuard::enter(&self.calls, |calls| &calls.decrypt);
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
