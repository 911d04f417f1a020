//! The cluster's CA, serving certificate, administrator's client certificate, and key for service
//! account tokens. They exist as long as the lab.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Names in the API server's certificate, besides 127.0.0.1.
const SERVER_NAMES: [&str; 5] = [
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default.svc",
    "10.0.0.1",
];

/// A certificate with its key, as PEM.
pub(super) struct CertificateAndKey {
    pub(super) cert: String,
    pub(super) key: String,
}

/// All keys and certificates of a cluster, as PEM.
pub(super) struct Certs {
    pub(super) ca: String,
    pub(super) server: CertificateAndKey,
    pub(super) admin: CertificateAndKey,
    pub(super) service_account_key: String,
    pub(super) service_account_public: String,
}

impl Certs {
    /// Generates all of them.
    pub(super) fn generate() -> Result<Self, rcgen::Error> {
        let mut params = params("kmslab lab CA", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let names = SERVER_NAMES.map(String::from).to_vec();
        let server = leaf(
            &ca,
            "kube-apiserver",
            None,
            names,
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        // The API server grants the group system:masters everything, before any RBAC object exists.
        let admin = leaf(
            &ca,
            "kmslab-admin",
            Some("system:masters"),
            Vec::new(),
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        let service_account = KeyPair::generate()?;
        Ok(Self {
            ca: ca.pem(),
            server,
            admin,
            service_account_key: service_account.serialize_pem(),
            service_account_public: service_account.public_key_pem(),
        })
    }
}

fn leaf(
    ca: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    group: Option<&str>,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<CertificateAndKey, rcgen::Error> {
    let mut params = params(name, names)?;
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(CertificateAndKey {
        cert: params.signed_by(&key, ca)?.pem(),
        key: key.serialize_pem(),
    })
}

fn params(name: &str, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Fixed, so that a wrong or moved clock does not end a lab.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    Ok(params)
}
