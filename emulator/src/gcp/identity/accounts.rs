//! Service accounts and their key files.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::gcp::wire::pem;
use crate::oauth::PublicRsaKey;

/// The service account with all permissions on everything.
pub(crate) const OWNER: &str = "kmslab@kmslab.iam.gserviceaccount.com";

/// Private key of that account, PKCS #8. It is no more a secret than the access key `test`, and the
/// same for every emulator, so that no start waits for a new one.
const OWNER_KEY: &[u8] = include_bytes!("owner_key.der");

/// The key of a service account, as in its key file.
#[derive(Clone)]
pub struct KeyFile {
    /// Email address of the account.
    pub email: String,
    /// Id of the key.
    pub key_id: String,
    /// PKCS #8 as PEM.
    private_key: Zeroizing<String>,
    public: PublicRsaKey,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile")
            .field("email", &self.email)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl KeyFile {
    /// Generates a key, which takes a moment. `None` if the system has no randomness.
    pub fn generate(email: &str) -> Option<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
        let der = pair.as_der().ok()?;
        Some(Self::new(email, &pair, der.as_ref()))
    }

    /// The key of the well-known account.
    pub(crate) fn owner() -> Self {
        let pair = RsaKeyPair::from_pkcs8(OWNER_KEY).expect("the file of this crate is a key");
        Self::new(OWNER, &pair, OWNER_KEY)
    }

    fn new(email: &str, pair: &RsaKeyPair, der: &[u8]) -> Self {
        Self {
            email: email.to_owned(),
            key_id: key_id(pair),
            private_key: Zeroizing::new(pem("PRIVATE KEY", der)),
            public: PublicRsaKey::from_pair(pair),
        }
    }

    /// Parses a key file; the error says what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let file: Value =
            serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let field = |name: &str| {
            file[name]
                .as_str()
                .ok_or_else(|| format!("it has no {name}"))
        };
        let private_key = Zeroizing::new(field("private_key")?.to_owned());
        let der = PrivatePkcs8KeyDer::from_pem_slice(private_key.as_bytes()).map(Zeroizing::new);
        let pair = der
            .ok()
            .and_then(|der| RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok());
        let pair = pair.ok_or("its private_key is not an RSA key in PKCS #8")?;
        let (email, key_id) = (
            field("client_email")?.to_owned(),
            field("private_key_id")?.to_owned(),
        );
        Ok(Self {
            email,
            key_id,
            private_key: private_key.clone(),
            public: PublicRsaKey::from_pair(&pair),
        })
    }

    /// Returns a key file as Google writes it, with the given `token_uri`.
    pub fn json(&self, token_uri: &str) -> Zeroizing<String> {
        let email = &self.email;
        let file = json!({
            "type": "service_account",
            "project_id": project_of(email),
            "private_key_id": self.key_id,
            "private_key": *self.private_key,
            "client_email": email,
            "client_id": client_id(email),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url": format!("https://www.googleapis.com/robot/v1/metadata/x509/{}", email.replace('@', "%40")),
            "universe_domain": "googleapis.com",
        });
        Zeroizing::new(format!("{file:#}\n"))
    }
}

/// Suffix of the email addresses of user-managed service accounts.
const EMAIL_SUFFIX: &str = ".iam.gserviceaccount.com";

/// The project of an email address; empty if it does not contain one. The address has
/// `p.example.com` for the domain-scoped project `example.com:p`.
pub(crate) fn project_of(email: &str) -> String {
    let project = email
        .split_once('@')
        .and_then(|(_, domain)| domain.strip_suffix(EMAIL_SUFFIX))
        .unwrap_or_default();
    match project.split_once('.') {
        Some((project, domain)) => format!("{domain}:{project}"),
        None => project.to_owned(),
    }
}

/// The email address of an account; `None` if `project` is not a project id.
pub(crate) fn email_address(id: &str, project: &str) -> Option<String> {
    let (domain, project) = project
        .split_once(':')
        .map_or((None, project), |(domain, project)| (Some(domain), project));
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_label = |text: &str| !text.is_empty() && plain(text);
    if !is_label(project) || !domain.is_none_or(|domain| domain.split('.').all(is_label)) {
        return None;
    }
    let domain = domain
        .map(|domain| format!(".{domain}"))
        .unwrap_or_default();
    Some(format!("{id}@{project}{domain}{EMAIL_SUFFIX}"))
}

/// The id of a key: 40 hex digits.
fn key_id(pair: &RsaKeyPair) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
    hex::encode(&digest.as_ref()[..20])
}

/// The account's unique id: 21 digits derived from its address.
pub(crate) fn client_id(email: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, email.as_bytes());
    let digits = digest
        .as_ref()
        .iter()
        .take(20)
        .map(|byte| char::from(b'0' + byte % 10));
    std::iter::once('1').chain(digits).collect()
}

/// A service account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) email: String,
    pub(crate) display_name: String,
    pub(crate) keys: Vec<PublicKey>,
}

/// A public key of an account, with the key's id.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    pub(crate) id: String,
    pub(crate) public: PublicRsaKey,
}

impl From<&KeyFile> for PublicKey {
    fn from(file: &KeyFile) -> Self {
        Self {
            id: file.key_id.clone(),
            public: file.public.clone(),
        }
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts(RwLock<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Serial number of the next account; one that is created again gets a new one.
    next: u64,
    all: Vec<(u64, Arc<Account>)>,
}

impl Entries {
    fn get(&self, email: &str) -> Option<&(u64, Arc<Account>)> {
        self.all
            .iter()
            .find(|(_, account)| account.email.eq_ignore_ascii_case(email))
    }
}

impl Accounts {
    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        self.write().all.clear();
    }

    pub(crate) fn get(&self, email: &str) -> Option<Arc<Account>> {
        self.read()
            .get(email)
            .map(|(_, account)| Arc::clone(account))
    }

    /// The account's serial number, unique even among accounts of the same address.
    pub(crate) fn serial(&self, email: &str) -> Option<u64> {
        self.read().get(email).map(|(serial, _)| *serial)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Account>> {
        self.read()
            .all
            .iter()
            .map(|(_, account)| Arc::clone(account))
            .collect()
    }

    /// Adds an account. Returns false if the address exists.
    pub(crate) fn add(&self, account: Account) -> bool {
        let mut known = self.write();
        let is_new = known.get(&account.email).is_none();
        if is_new {
            let serial = known.next;
            known.next += 1;
            known.all.push((serial, Arc::new(account)));
        }
        is_new
    }

    /// Adds an account, or replaces the well-known one. Returns false if another has the address.
    pub(crate) fn put(&self, account: Account) -> bool {
        if account.email == OWNER {
            self.remove(OWNER);
        }
        self.add(account)
    }

    pub(crate) fn remove(&self, email: &str) -> bool {
        let mut known = self.write();
        let before = known.all.len();
        known
            .all
            .retain(|(_, account)| !account.email.eq_ignore_ascii_case(email));
        known.all.len() < before
    }

    /// Changes the keys of an account. Returns false if there is no such account.
    pub(crate) fn change_keys(
        &self,
        email: &str,
        change: impl FnOnce(&mut Vec<PublicKey>),
    ) -> bool {
        let mut known = self.write();
        let there = known
            .all
            .iter_mut()
            .find(|(_, account)| account.email.eq_ignore_ascii_case(email));
        there
            .map(|(_, account)| change(&mut Arc::make_mut(account).keys))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::well_known::GCP_TOKEN_URI;

    proptest! {
        #[test]
        fn invalid_key_files_are_rejected(noise: Vec<u8>, pem in "(-----BEGIN PRIVATE KEY-----)?[A-Za-z0-9+/=\\\\n]{0,80}") {
            prop_assert!(KeyFile::parse(&noise).is_err());
            let text = format!(r#"{{"private_key":"{pem}","client_email":"a@p","private_key_id":"b"}}"#);
            prop_assert!(KeyFile::parse(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn key_file_round_trips() {
        let created = KeyFile::generate("a@p.iam.gserviceaccount.com").unwrap();
        let text = created.json(GCP_TOKEN_URI);
        let read = KeyFile::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (&read.email, &read.key_id, &read.public),
            (&created.email, &created.key_id, &created.public)
        );
        assert!(text.contains("\"project_id\": \"p\""));
        assert!(!format!("{created:?}").contains("BEGIN"));
        for bad in [
            "",
            "{}",
            r#"{"private_key":"x","client_email":"a","private_key_id":"b"}"#,
        ] {
            assert!(KeyFile::parse(bad.as_bytes()).is_err());
        }
    }
}
