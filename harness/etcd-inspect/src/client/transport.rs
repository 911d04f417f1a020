//! Transport of the client: TCP or a unix socket, with or without TLS.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use kmslab_program::file;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::EtcdError;

/// Flow-control window in bytes: HTTP/2's default of 64 KiB would delay large ranges.
const FLOW_CONTROL_WINDOW: u32 = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// PEM files for `https://` and `unixs://` endpoints, named as in `etcdctl`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TlsFiles {
    /// `--cacert`: CA of etcd's certificate.
    pub ca: Option<PathBuf>,
    /// `--cert`: client certificate.
    pub cert: Option<PathBuf>,
    /// `--key`: key of the client certificate.
    pub key: Option<PathBuf>,
}

pub(super) async fn channel(endpoint: &str, tls: &TlsFiles) -> Result<Channel, EtcdError> {
    let bad = |reason: String| EtcdError::Endpoint {
        endpoint: endpoint.to_owned(),
        reason,
    };
    let socket = endpoint.strip_prefix("unixs://").map(Path::new);
    let secure = endpoint.starts_with("https://") || socket.is_some();
    if !secure
        && !["http://", "unix:///"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
    {
        return Err(bad("its scheme is none of these".to_owned()));
    }
    let target = match socket {
        // As etcd's own client does; kine's certificate is for this name.
        Some(socket) => format!(
            "https://{}",
            server_name(socket).ok_or_else(|| bad("it names no file".to_owned()))?
        ),
        None => endpoint.to_owned(),
    };
    let mut target = Endpoint::from_shared(target)
        .map_err(|error| bad(error_chain(&error)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(FLOW_CONTROL_WINDOW)
        .initial_connection_window_size(FLOW_CONTROL_WINDOW);
    if secure {
        target = target
            .tls_config(tls_config(tls)?)
            .map_err(|error| bad(error_chain(&error)))?;
    }
    let connected = match socket {
        Some(socket) => {
            let socket = socket.to_owned();
            let connect = move |_| {
                let socket = socket.clone();
                async { UnixStream::connect(socket).await.map(TokioIo::new) }
            };
            target
                .connect_with_connector(tower::service_fn(connect))
                .await
        }
        None => target.connect().await,
    };
    connected.map_err(|error| EtcdError::Connect {
        endpoint: endpoint.to_owned(),
        reason: error_chain(&error),
    })
}

/// The name in a socket's certificate.
fn server_name(socket: &Path) -> Option<&str> {
    let name = socket.file_name()?.to_str()?;
    Some(name.split_once(':').map_or(name, |(host, _)| host))
}

fn tls_config(files: &TlsFiles) -> Result<ClientTlsConfig, EtcdError> {
    let missing = |file: &str, reason: &str| EtcdError::Tls {
        file: file.to_owned(),
        reason: reason.to_owned(),
    };
    let ca = files.ca.as_deref().ok_or_else(|| {
        missing(
            "the CA certificate",
            "name the file that signed etcd's certificate (etcdctl's --cacert)",
        )
    })?;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (files.cert.as_deref(), files.key.as_deref()) {
        (None, None) => Ok(config),
        (Some(cert), Some(key)) => Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?))),
        _ => Err(missing(
            "the client certificate",
            "a certificate needs its key and a key its certificate",
        )),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdError> {
    let read = file::read(path, file::MAX_CONFIGURATION_BYTES).map(|bytes| bytes.to_vec());
    read.map_err(|error| EtcdError::Tls {
        file: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// All errors of the chain, since the outermost is only "transport error".
fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
