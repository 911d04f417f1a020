//! The connection below the client: TCP, TLS or a unix socket.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kmslab_plugin::file;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::EtcdError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// PEM files for `https://` endpoints, under the names that `etcdctl` gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TlsFiles {
    /// `--cacert`: who signed etcd's certificate.
    pub ca: Option<PathBuf>,
    /// `--cert`: the client's certificate.
    pub cert: Option<PathBuf>,
    /// `--key`: the client's key.
    pub key: Option<PathBuf>,
}

pub(super) async fn channel(endpoint: &str, tls: &TlsFiles) -> Result<Channel, EtcdError> {
    let bad = |reason: String| EtcdError::Endpoint { endpoint: endpoint.to_owned(), reason };
    let secure = endpoint.starts_with("https://");
    if !secure && !["http://", "unix:///"].iter().any(|scheme| endpoint.starts_with(scheme)) {
        return Err(bad("its scheme is none of these".to_owned()));
    }
    let mut target = Endpoint::from_shared(endpoint.to_owned())
        .map_err(|error| bad(causes(&error)))?
        .connect_timeout(CONNECT_TIMEOUT);
    if secure {
        target = target.tls_config(tls_config(tls)?).map_err(|error| bad(causes(&error)))?;
    }
    target.connect().await.map_err(|error| EtcdError::Connect { endpoint: endpoint.to_owned(), reason: causes(&error) })
}

fn tls_config(files: &TlsFiles) -> Result<ClientTlsConfig, EtcdError> {
    let missing = |file: &str, reason: &str| EtcdError::Tls { file: file.to_owned(), reason: reason.to_owned() };
    let ca = files.ca.as_deref().ok_or_else(|| {
        missing("the CA certificate", "name the file that signed etcd's certificate (etcdctl's --cacert)")
    })?;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (files.cert.as_deref(), files.key.as_deref()) {
        (None, None) => Ok(config),
        (Some(cert), Some(key)) => Ok(config.identity(Identity::from_pem(read(cert)?, read(key)?))),
        _ => Err(missing("the client certificate", "a certificate needs its key and a key its certificate")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdError> {
    let read = file::read(path, file::CONFIGURATION).map(|bytes| bytes.to_vec());
    read.map_err(|error| EtcdError::Tls { file: path.display().to_string(), reason: error.to_string() })
}

/// The whole chain, since the outermost text of a transport error is just "transport error".
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
