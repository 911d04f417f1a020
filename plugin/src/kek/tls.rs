//! Shared by the clients of all clouds: the trusted CA file, and why a request could not be sent.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::KekError;
use kmslab_program::file;

/// Why a CA file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--ca-file {path}: {reason}; give a PEM file with the CA that signed the endpoint's certificate", path = path.display())]
pub struct CaFileError {
    /// Path of the file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// Reads the file; fails unless every certificate in it can be a root.
pub(super) fn read_ca(path: &Path) -> Result<Vec<u8>, CaFileError> {
    let error = |reason: String| CaFileError {
        path: path.to_owned(),
        reason,
    };
    let pem =
        file::read(path, file::MAX_CONFIGURATION_BYTES).map_err(|err| error(err.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|err| error(format!("not PEM: {err}")))?;
        roots
            .add(certificate)
            .map_err(|err| error(format!("a certificate in it is malformed: {err}")))?;
    }
    if roots.is_empty() {
        Err(error("no certificate in it".into()))
    } else {
        Ok(pem.to_vec())
    }
}

/// The request could not be sent to `endpoint`.
pub(super) fn request_failed(endpoint: &str, error: &(dyn Error + 'static)) -> KekError {
    let endpoint = endpoint.to_owned();
    match find_source::<rustls::Error>(error) {
        Some(tls @ rustls::Error::InvalidCertificate(_)) => KekError::Certificate {
            endpoint,
            detail: tls.to_string(),
        },
        Some(tls) => KekError::Unreachable {
            endpoint,
            detail: tls.to_string(),
        },
        None => KekError::Unreachable {
            endpoint,
            detail: root_message(error),
        },
    }
}

/// The source of an error. An `io::Error` that wraps another one hides it from `source`.
fn source_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// An error and its sources, the innermost last.
pub(super) fn error_chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| source_of(*error))
}

/// The first error of a type in the chain.
pub(super) fn find_source<'a, T: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a T> {
    error_chain(error).find_map(|error| error.downcast_ref::<T>())
}

/// The innermost message, which names the actual cause.
pub(super) fn root_message(error: &(dyn Error + 'static)) -> String {
    error_chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_inside_an_io_error_is_found() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(matches!(
            find_source::<rustls::Error>(&outer),
            Some(rustls::Error::InvalidCertificate(_))
        ));
        assert!(
            root_message(&outer).contains("UnknownIssuer"),
            "{}",
            root_message(&outer)
        );
        assert!(matches!(
            request_failed("e", &outer),
            KekError::Certificate { .. }
        ));
    }
}
