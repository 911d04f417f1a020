//! The emulator's certificate authority, and the server certificate that every start generates.
//!
//! With a directory the CA is kept and reused, so that clients keep trusting it. The server's
//! private key is never written to disk.

mod key;

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyUsagePurpose, NameConstraints,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::private_file;
use key::{CaKey, EcKey};
use kmslab_program::file;

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca-key.pem";
const CA_NAME: &str = "kmslab emulator test CA";
/// Validity of the CA: short, and limited to its own names, since it may be left in a trust store.
const CA_DAYS: i64 = 90;
const SERVER_DAYS: i64 = CA_DAYS;
/// A kept CA that expires within this time is replaced.
const MIN_REMAINING_DAYS: i64 = 1;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// One of the CA's two files is missing.
    #[error("{} has one of {CA_FILE} and {CA_KEY_FILE} but not the other; put it back, or remove both for a new CA", .0.display())]
    Half(PathBuf),
    /// The files do not contain a usable CA.
    #[error("the CA in {} does not work ({reason}); remove {CA_FILE} and {CA_KEY_FILE} there for a new one", dir.display())]
    Unusable {
        /// Directory of the CA.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate could not be generated.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

/// The server's TLS configuration, and the CA certificate for clients.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) ca_pem: String,
    pub(crate) ca_path: PathBuf,
    /// Removed on drop.
    _temporary: Option<TempDir>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("ca_path", &self.ca_path)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads the CA from `dir`, creating it if absent; without `dir` the CA is for this run only.
    /// `listening`, `others` and the names matching `patterns` (`*` is one label) are in the server
    /// certificate.
    pub(crate) fn new(
        dir: Option<&Path>,
        listening: IpAddr,
        others: &[String],
        patterns: &[&str],
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        if !listening.is_unspecified() && !names.contains(&listening.to_string()) {
            names.push(listening.to_string());
        }
        names.extend(others.iter().cloned());
        names.extend(patterns.iter().map(|&pattern| pattern.to_owned()));
        let temporary = match dir {
            Some(_) => None,
            None => Some(
                TempDir::with_prefix("kmslab-emulator-")
                    .map_err(at("make a directory in", &std::env::temp_dir()))?,
            ),
        };
        let (ca_pem, ca_key, dir) = match (dir, &temporary) {
            (Some(dir), _) => {
                let (pem, key) = load_ca(dir, &names, now)?;
                (pem, key, dir.to_owned())
            }
            (None, Some(temporary)) => {
                let (pem, key) = new_ca(&names, now)?;
                write(&temporary.path().join(CA_FILE), &pem, 0o644)?;
                (pem, CaKey::Own(key), temporary.path().to_owned())
            }
            (None, None) => return Err(TlsError::Make("no directory for the CA".to_owned())),
        };
        let (certificate, key) = server_certificate(&ca_key, &names, now)?;
        check(&ca_pem, &certificate, others, now).map_err(|reason| TlsError::Unusable {
            dir: dir.clone(),
            reason,
        })?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![certificate], key)
            });
        let mut config = config.map_err(|error| TlsError::Make(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self {
            acceptor,
            ca_pem,
            ca_path: dir.join(CA_FILE),
            _temporary: temporary,
        })
    }
}

fn load_ca(dir: &Path, names: &[String], now: Timestamp) -> Result<(String, CaKey), TlsError> {
    fs::create_dir_all(dir).map_err(at("make the directory", dir))?;
    // Two emulators may start with one directory; the second uses the files of the first.
    let lock_path = dir.join(".lock");
    let lock = File::create(&lock_path).map_err(at("write", &lock_path))?;
    lock.lock().map_err(at("lock", &lock_path))?;
    let (ca_path, key_path) = (dir.join(CA_FILE), dir.join(CA_KEY_FILE));
    match (ca_path.exists(), key_path.exists()) {
        (true, true) => {
            let read = |path: &Path| file::read_text(path, file::MAX_CONFIGURATION_BYTES);
            let pem = read(&ca_path).map_err(at("read", &ca_path))?.to_string();
            if expires_soon(&pem, now) {
                tracing::warn!(dir = %dir.display(), "the CA has ended or is about to: a new one is made, which clients have to be given");
                return store_new_ca(dir, names, now);
            }
            let key = read(&key_path).map_err(at("read", &key_path))?;
            let key = CaKey::from_pem(&key).map_err(|error| TlsError::Unusable {
                dir: dir.to_owned(),
                reason: format!("{CA_KEY_FILE}: {error}"),
            })?;
            Ok((pem, key))
        }
        (false, false) => store_new_ca(dir, names, now),
        _ => Err(TlsError::Half(dir.to_owned())),
    }
}

fn store_new_ca(dir: &Path, names: &[String], now: Timestamp) -> Result<(String, CaKey), TlsError> {
    let (pem, key) = new_ca(names, now)?;
    let write = |name: &str, text: &str, mode| {
        let path = dir.join(name);
        private_file::write(&path, text.as_bytes(), mode).map_err(at("write", &path))
    };
    write(CA_KEY_FILE, &key.to_pem().map_err(make)?, 0o600)?;
    write(CA_FILE, &pem, 0o644)?;
    Ok((pem, CaKey::Own(key)))
}

/// False for an invalid certificate, which fails when it is used.
fn expires_soon(ca_pem: &str, now: Timestamp) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(ca_pem.as_bytes()) else {
        return false;
    };
    let Ok(certificate) = pem.parse_x509() else {
        return false;
    };
    certificate.validity().not_after.timestamp() < now.as_second() + MIN_REMAINING_DAYS * 86_400
}

/// Name constraints: localhost, the vendors' names that are served, and the configured names; for a
/// wildcard the domain below it. Addresses are not constrained: BoringSSL, used by gRPC for Python
/// and others, rejects CAs with other than name constraints.
fn permitted_names(names: &[String]) -> NameConstraints {
    let subtree =
        |name: &String| GeneralSubtree::DnsName(name.strip_prefix("*.").unwrap_or(name).to_owned());
    let names = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    NameConstraints {
        permitted_subtrees: names.map(subtree).collect(),
        excluded_subtrees: Vec::new(),
    }
}

fn ca_params() -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(make)?;
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn new_ca(names: &[String], now: Timestamp) -> Result<(String, EcKey), TlsError> {
    let key = EcKey::generate().map_err(make)?;
    let mut params = ca_params()?;
    params.name_constraints = Some(permitted_names(names));
    set_validity(&mut params, now, CA_DAYS);
    let certificate = params.self_signed(&key).map_err(make)?;
    Ok((certificate.pem(), key))
}

type CertificateAndKey = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn server_certificate(
    ca_key: &CaKey,
    names: &[String],
    now: Timestamp,
) -> Result<CertificateAndKey, TlsError> {
    let mut params = CertificateParams::new(names).map_err(make)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "kmslab emulator");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, SERVER_DAYS);
    let key = EcKey::generate().map_err(make)?;
    let issuer_params = ca_params()?;
    let certificate = params
        .signed_by(&key, &Issuer::from_params(&issuer_params, ca_key))
        .map_err(make)?;
    Ok((
        certificate.der().clone(),
        key.to_der().map_err(make)?.into(),
    ))
}

/// Valid from one day before `now`, for clients with a slow clock.
pub(crate) fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let day = |offset: i64| {
        let date = today.saturating_add(offset.days());
        // 1 to 12 and 1 to 31 fit in u8.
        rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(-1);
    params.not_after = day(days);
}

/// Verifies as a client does: detects a CA file that is not a certificate or does not match the
/// key.
fn check(
    ca_pem: &str,
    certificate: &CertificateDer<'_>,
    others: &[String],
    now: Timestamp,
) -> Result<(), String> {
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes())
        .map_err(|error| format!("{CA_FILE}: {error:?}"))?;
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|error| error.to_string())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        now.as_second().unsigned_abs(),
    ));
    for name in std::iter::once("localhost").chain(others.iter().map(String::as_str)) {
        let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
        verifier
            .verify_server_cert(certificate, &[], &name, &[], time)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    private_file::write_volatile(path, text.as_bytes(), mode).map_err(at("write", path))
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { what, path, source }
}

fn make(error: impl std::fmt::Display) -> TlsError {
    TlsError::Make(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn kept_ca_is_reused_and_its_key_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Tls::new(Some(dir.path()), LOOPBACK, &[], &[], now()).unwrap();
        let start =
            |at: &str| Tls::new(Some(dir.path()), LOOPBACK, &[], &[], at.parse().unwrap()).unwrap();
        let second = start("2027-02-20T00:00:00Z");
        assert_eq!(first.ca_pem, second.ca_pem);
        // The second CA expires on 2027-02-22.
        let third = start("2027-02-22T00:00:00Z");
        assert_ne!(first.ca_pem, third.ca_pem);
        let second = start("2027-05-01T00:00:00Z");
        assert_eq!(third.ca_pem, second.ca_pem);
        assert_eq!(fs::read_to_string(&second.ca_path).unwrap(), second.ca_pem);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(CA_KEY_FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn kept_ca_may_have_a_key_of_another_kind() {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = ca_params().unwrap();
        set_validity(&mut params, now(), CA_DAYS);
        let ca = params.self_signed(&key).unwrap().pem();
        fs::write(dir.path().join(CA_FILE), &ca).unwrap();
        fs::write(dir.path().join(CA_KEY_FILE), key.serialize_pem()).unwrap();
        let tls = Tls::new(Some(dir.path()), LOOPBACK, &[], &[], now()).unwrap();
        assert_eq!(tls.ca_pem, ca);
    }

    #[test]
    fn certificate_contains_configured_names() {
        let names = ["kms.kmslab.internal".to_owned(), "172.18.0.2".to_owned()];
        Tls::new(None, LOOPBACK, &names, &["*.vault.azure.net"], now()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let local = ["localhost".to_owned()];
        let (_, key) = load_ca(dir.path(), &local, now()).unwrap();
        let (certificate, _) = server_certificate(&key, &local, now()).unwrap();
        let ca = fs::read_to_string(dir.path().join(CA_FILE)).unwrap();
        check(&ca, &certificate, &[], now()).unwrap();
        assert!(check(&ca, &certificate, &names[..1], now()).is_err());
    }

    #[test]
    fn ca_is_constrained_to_its_own_names() {
        let names = ["localhost", "127.0.0.1", "*.vault.azure.net", "10.1.2.3"].map(str::to_owned);
        let (ca, key) = new_ca(&names, now()).unwrap();
        let key = CaKey::Own(key);
        for (name, good) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("a.vault.azure.net", true),
            ("10.1.2.3", true),
            ("evil.example", false),
            ("vault.azure.net.evil.example", false),
        ] {
            let names = ["localhost".to_owned(), name.to_owned()];
            let (certificate, _) = server_certificate(&key, &names, now()).unwrap();
            assert_eq!(
                check(&ca, &certificate, &names[1..], now()).is_ok(),
                good,
                "{name}"
            );
        }
        // A kept CA with fewer names causes an error with a remedy.
        let dir = tempfile::tempdir().unwrap();
        drop(Tls::new(Some(dir.path()), LOOPBACK, &[], &[], now()).unwrap());
        let more = ["kms.example.com".to_owned()];
        let error = Tls::new(Some(dir.path()), LOOPBACK, &more, &[], now())
            .unwrap_err()
            .to_string();
        assert!(error.contains("remove ca.pem and ca-key.pem"), "{error}");
    }

    #[test]
    fn temporary_ca_is_removed_with_the_emulator() {
        let tls = Tls::new(None, LOOPBACK, &[], &[], now()).unwrap();
        let path = tls.ca_path.clone();
        assert!(path.exists());
        drop(tls);
        assert!(!path.exists() && !path.parent().unwrap().exists());
    }

    #[test]
    fn broken_ca_error_names_directory_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        drop(Tls::new(Some(dir.path()), LOOPBACK, &[], &[], now()).unwrap());
        let other = new_ca(&["localhost".to_owned()], now()).unwrap().0;
        fs::write(dir.path().join(CA_FILE), other).unwrap();
        let error = Tls::new(Some(dir.path()), LOOPBACK, &[], &[], now())
            .unwrap_err()
            .to_string();
        assert!(error.contains("remove ca.pem and ca-key.pem"), "{error}");
        fs::remove_file(dir.path().join(CA_FILE)).unwrap();
        assert!(matches!(
            Tls::new(Some(dir.path()), LOOPBACK, &[], &[], now()),
            Err(TlsError::Half(_))
        ));
    }
}
