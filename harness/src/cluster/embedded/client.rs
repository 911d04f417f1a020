//! The API server's gRPC client of the plugin, with grpc-go's behaviour and messages where they
//! appear in errors.
//!
//! kube-apiserver calls with `WaitForReady`: a broken connection is replaced, and a call waits for
//! that until its timeout. A plugin cannot return while the virtual clock does not advance, so a
//! socket on which nothing listens fails at once here.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use kmslab_kmsv2::socket::key_management_service_client::KeyManagementServiceClient;
use kmslab_kmsv2::socket::{
    DecryptRequest, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

type Client = KeyManagementServiceClient<Channel>;
type Answer<T> = BoxFuture<'static, Result<Response<T>, Status>>;

/// A failed call, printed as grpc-go prints it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rpc error: code = {} desc = {message}", go_name(*.code))]
pub(crate) struct RpcError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl RpcError {
    fn deadline(message: impl Into<String>) -> Self {
        Self {
            code: Code::DeadlineExceeded,
            message: message.into(),
        }
    }
}

/// A plugin at its socket.
#[derive(Debug)]
pub(crate) struct PluginClient {
    socket: PathBuf,
    timeout: Duration,
    connected: Mutex<Option<Client>>,
}

impl PluginClient {
    pub(crate) fn new(socket: PathBuf, timeout: Duration) -> Self {
        Self {
            socket,
            timeout,
            connected: Mutex::new(None),
        }
    }

    pub(crate) async fn status(&self) -> Result<StatusResponse, RpcError> {
        self.call(|mut client| {
            let request = self.request(StatusRequest {});
            Box::pin(async move { client.status(request).await })
        })
        .await
    }

    pub(crate) async fn encrypt(
        &self,
        uid: &str,
        plaintext: &[u8],
    ) -> Result<EncryptResponse, RpcError> {
        self.call(|mut client| {
            let request = self.request(EncryptRequest {
                plaintext: plaintext.to_vec(),
                uid: uid.to_owned(),
            });
            Box::pin(async move { client.encrypt(request).await })
        })
        .await
    }

    pub(crate) async fn decrypt(
        &self,
        request: &DecryptRequest,
    ) -> Result<Zeroizing<Vec<u8>>, RpcError> {
        let answer = self.call(|mut client| {
            let request = self.request(request.clone());
            Box::pin(async move { client.decrypt(request).await })
        });
        Ok(Zeroizing::new(answer.await?.plaintext))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// Makes a call within the provider's timeout. A dead connection is replaced once.
    async fn call<T>(&self, f: impl Fn(Client) -> Answer<T> + Send + Sync) -> Result<T, RpcError> {
        let attempt = async {
            let kept = self
                .connected
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(client) = kept {
                match f(client).await {
                    Err(status) if is_transport(&status) => self.keep_connection(None),
                    answer => return finish(answer),
                }
            }
            let client = connect(&self.socket).await?;
            self.keep_connection(Some(client.clone()));
            finish(f(client).await)
        };
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(answer) => answer,
            Err(_) => Err(RpcError::deadline("context deadline exceeded")),
        }
    }

    fn keep_connection(&self, client: Option<Client>) {
        *self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// Whether the connection failed, as opposed to a status from the plugin.
fn is_transport(status: &Status) -> bool {
    status.source().is_some() && !is_timeout(status)
}

/// Both sides of tonic end a call at its `grpc-timeout` with this.
fn is_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message().contains("Timeout expired")
}

fn finish<T>(answer: Result<Response<T>, Status>) -> Result<T, RpcError> {
    match answer {
        Ok(response) => Ok(response.into_inner()),
        Err(status) if is_timeout(&status) => Err(RpcError::deadline("context deadline exceeded")),
        Err(status) if is_transport(&status) => Err(RpcError {
            code: Code::Unavailable,
            message: "error reading from server: EOF".into(),
        }),
        Err(status) => Err(RpcError {
            code: status.code(),
            message: status.message().to_owned(),
        }),
    }
}

/// A channel over one connection that does not reconnect.
async fn connect(socket: &Path) -> Result<Client, RpcError> {
    let not_ready = |why: String| {
        let dial = format!(
            "transport: Error while dialing: dial unix {}: connect: {why}",
            socket.display()
        );
        RpcError::deadline(format!(
            "latest balancer error: connection error: desc = {dial:?}"
        ))
    };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|err| not_ready(errno_text(&err)))?;
    let once = Arc::new(Mutex::new(Some(TokioIo::new(stream))));
    let connector = tower::service_fn(move |_| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    // kube-apiserver sends `:authority: localhost` since 1.32 (kubernetes#126930).
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|err| not_ready(err.to_string()))?;
    Ok(Client::new(channel))
}

/// An errno message as Go prints it: lower case, without the number.
fn errno_text(err: &io::Error) -> String {
    let text = err.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

/// Status codes as grpc-go prints them.
fn go_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
