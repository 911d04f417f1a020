//! What every cloud's client has in common below HTTP: the CA file that it is told to trust, and
//! why a request never arrived.

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
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The file's bytes, if every certificate in it can be a root.
pub(super) fn read_ca(path: &Path) -> Result<Vec<u8>, CaFileError> {
    let error = |reason: String| CaFileError {
        path: path.to_owned(),
        reason,
    };
    let pem = file::read(path, file::CONFIGURATION).map_err(|err| error(err.to_string()))?;
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

/// The request could not be brought to `endpoint`.
pub(super) fn never_arrived(endpoint: &str, error: &(dyn Error + 'static)) -> KekError {
    let endpoint = endpoint.to_owned();
    match find::<rustls::Error>(error) {
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
            detail: root(error),
        },
    }
}

/// What an error stands on. An `io::Error` that wraps another hides it from `source`.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// An error and all that it stands on, the innermost last.
pub(super) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// The first error of that type in the chain.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}

/// The innermost text, which says what really happened.
pub(super) fn root(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        assert!(matches!(
            find::<rustls::Error>(&outer),
            Some(rustls::Error::InvalidCertificate(_))
        ));
        assert!(root(&outer).contains("UnknownIssuer"), "{}", root(&outer));
        assert!(matches!(
            never_arrived("e", &outer),
            KekError::Certificate { .. }
        ));
    }
}
