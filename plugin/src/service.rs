//! `v2.KeyManagementService`: checks what comes in, labels what goes out. Knows no cloud.

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

use crate::error::{RequestError, status_of};
use crate::kek::{Kek, Wrapped};
use crate::key_id::{ANNOTATION, Label, parse_annotation};
use crate::metrics::{Metrics, Operation};
use crate::socket::Standing;
use crate::status::{Current, Snapshot};

/// How often one Encrypt is tried while the key rotates under it.
const ENCRYPT_ATTEMPTS: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) status: AtomicU64,
    pub(crate) encrypt: AtomicU64,
    pub(crate) decrypt: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

/// One call in flight, however it ends.
struct InFlight(Arc<Calls>);

impl InFlight {
    fn enter(calls: &Arc<Calls>, counter: impl Fn(&Calls) -> &AtomicU64) -> Self {
        counter(calls).fetch_add(1, Ordering::Relaxed);
        calls.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) kek: Arc<dyn Kek>,
    pub(crate) current: Arc<Current>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) killed: CancellationToken,
    pub(crate) standing: Standing,
}

impl Service {
    /// Why Status and `/readyz` fail, if they do. Waits for nothing.
    pub(crate) fn health_now(&self) -> Result<Arc<Snapshot>, Status> {
        self.reachable()?;
        self.current.health_now()
    }

    /// Fails while nobody can connect. Who is connected would not notice, until the connection
    /// ends.
    pub(crate) fn reachable(&self) -> Result<(), Status> {
        self.standing
            .trouble()
            .map_or(Ok(()), |trouble| Err(Status::unavailable(trouble.as_str())))
    }

    async fn seal(&self, plaintext: &[u8]) -> Result<EncryptResponse, Status> {
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
                return labelled(wrapped, &snapshot, plaintext.len());
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
                Err(status_of(&error))
            }
        }
    }

    async fn open(&self, request: &DecryptRequest) -> Result<Zeroizing<Vec<u8>>, Status> {
        let label = self.check(request)?;
        let started = self.current.now();
        let version = label.key_version();
        self.kek
            .unwrap(&request.ciphertext, &version)
            .await
            .map_err(|error| {
                // Of an older version's end, new data knows nothing; and what the label names is up
                // to whoever wrote it.
                let current = self
                    .current
                    .snapshot()
                    .is_some_and(|snapshot| snapshot.version == version);
                if current || error.version().is_none() {
                    self.current.failed(&error, started);
                }
                status_of(&error)
            })
    }

    /// Nothing of the request reaches the cloud but the ciphertext: the key's name in it is
    /// compared, never used.
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

    /// Runs a call until it is done or the plugin is killed; counts it, times it, logs it.
    async fn answer<T>(
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

fn labelled(
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
        let _call = InFlight::enter(&self.calls, |calls| &calls.status);
        let work = async {
            self.reachable()?;
            let snapshot = self.current.health().await?;
            Ok(StatusResponse {
                version: API_VERSION.into(),
                healthz: HEALTHY.into(),
                key_id: snapshot.key_id.clone(),
            })
        };
        self.answer(Operation::Status, "", work).await
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let _call = InFlight::enter(&self.calls, |calls| &calls.encrypt);
        let EncryptRequest { plaintext, uid } = request.into_inner();
        let plaintext = Zeroizing::new(plaintext);
        self.answer(Operation::Encrypt, &uid, self.seal(&plaintext))
            .await
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let _call = InFlight::enter(&self.calls, |calls| &calls.decrypt);
        let request = request.into_inner();
        let work = async {
            let mut plaintext = self.open(&request).await?;
            Ok(DecryptResponse {
                plaintext: std::mem::take(&mut *plaintext),
            })
        };
        self.answer(Operation::Decrypt, &request.uid, work).await
    }
}
