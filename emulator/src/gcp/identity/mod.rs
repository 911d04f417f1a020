//! Google identities: service accounts, their keys and tokens, and the endpoints that issue tokens.

mod access_token;
mod accounts;
mod certificates;
mod endpoints;
pub(super) mod faults;
mod metadata;
pub(crate) mod service;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use kmslab_keycore::{Clock, Entropy};
use serde_json::{Value, json};

pub use accounts::KeyFile;
pub(crate) use accounts::{
    Account, Accounts, OWNER, PublicKey, client_id, email_address, project_of,
};
pub(crate) use token::InvalidToken;

use crate::Auth;
use crate::oauth::SigningKey;
use access_token::{Grant, LIFETIME, TokenKey};
use token::InvalidAssertion;

/// Audience of self-signed tokens for Cloud KMS.
pub(crate) const CLOUD_KMS: &str = "https://cloudkms.googleapis.com";
pub(crate) const IAM: &str = "https://iam.googleapis.com";
/// OAuth scopes: the one for all services, and the one for Cloud KMS.
const CLOUD_PLATFORM_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const CLOUD_KMS_SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

/// A cached token is returned only while it is valid for more than this many seconds.
const MIN_CACHED_LIFETIME: i64 = 300;
/// Tokens that the metadata server caches, one for each combination of scopes.
const MAX_CACHED_TOKENS: usize = 64;

/// Service accounts and tokens of an emulator.
pub(crate) struct Identity {
    pub(crate) accounts: Accounts,
    /// Key of the well-known account, parsed at first use.
    owner: OnceLock<KeyFile>,
    /// Account of the metadata server.
    default: RwLock<String>,
    seals: TokenKey,
    /// The metadata server's current tokens by account and scopes, with their expiry.
    cached: Mutex<BTreeMap<(String, String), (String, i64)>>,
    /// Key that signs ID tokens, generated at first use.
    signer: OnceLock<Option<SigningKey>>,
    wall: Arc<dyn Clock>,
    pub(crate) auth: Auth,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn new(wall: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, auth: Auth) -> Self {
        Self {
            accounts: Accounts::default(),
            owner: OnceLock::new(),
            default: RwLock::default(),
            seals: TokenKey::new(entropy.as_ref()),
            cached: Mutex::default(),
            signer: OnceLock::new(),
            wall,
            auth,
            entropy,
        }
    }

    /// Restores the initial state: only the well-known account.
    pub(crate) fn reset(&self) {
        self.accounts.clear();
        self.seals.rotate(self.entropy.as_ref());
        self.cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let keys = self
            .owner
            .get()
            .map(|file| vec![file.into()])
            .unwrap_or_default();
        self.accounts.add(Account {
            email: OWNER.to_owned(),
            display_name: "kmslab".to_owned(),
            keys,
        });
        self.set_default(OWNER);
    }

    /// Sets the account of the metadata server.
    pub(crate) fn set_default(&self, email: &str) {
        email.clone_into(&mut self.default.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn default(&self) -> String {
        self.default
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the key of the well-known account.
    pub(crate) fn owner(&self) -> KeyFile {
        let file = self.owner.get_or_init(KeyFile::owner).clone();
        self.accounts.change_keys(OWNER, |keys| {
            if keys.iter().all(|key| key.id != file.key_id) {
                keys.push((&file).into());
            }
        });
        file
    }

    /// Issues an access token for `scopes`, separated by spaces. Returns it with its expiry.
    fn access_token(&self, email: &str, scopes: &str) -> (String, i64) {
        let mut unique = [0; 8];
        self.entropy.fill(&mut unique);
        let grant = Grant {
            email: email.to_owned(),
            serial: self.accounts.serial(email).unwrap_or(u64::MAX),
            scopes: scopes.to_owned(),
            expires: (self.wall.now() + LIFETIME).as_second(),
            unique: u64::from_le_bytes(unique),
        };
        (self.seals.issue(&grant), grant.expires)
    }

    /// Returns the metadata server's token, the same one until five minutes before it expires.
    /// <https://docs.cloud.google.com/compute/docs/access/authenticate-workloads>
    fn cached_token(&self, email: &str, scopes: &str) -> (String, i64) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.wall.now().as_second();
        let name = (email.to_owned(), scopes.to_owned());
        if let Some((token, ends)) = cached
            .get(&name)
            .filter(|(_, ends)| ends - now > MIN_CACHED_LIFETIME)
        {
            return (token.clone(), *ends);
        }
        if cached.len() >= MAX_CACHED_TOKENS {
            cached.clear();
        }
        let created = self.access_token(email, scopes);
        cached.insert(name, created.clone());
        created
    }

    /// Verifies an access token. Tokens of a deleted account are invalid, those of a deleted key
    /// are not.
    /// <https://docs.cloud.google.com/iam/docs/keys-create-delete>
    fn verify_access_token(&self, token: &str) -> Result<Grant, InvalidToken> {
        let grant = self.seals.verify(token, self.wall.now())?;
        if self.accounts.serial(&grant.email) == Some(grant.serial) {
            Ok(grant)
        } else {
            Err(InvalidToken::WrongIssuer)
        }
    }

    fn signer(&self) -> Option<&SigningKey> {
        self.signer.get_or_init(SigningKey::generate).as_ref()
    }

    /// Issues an ID token; `machine` holds the claims about the machine that requested it.
    fn id_token(&self, email: &str, audience: &str, machine: Option<Value>) -> Option<String> {
        let (now, id) = (self.wall.now(), client_id(email));
        let mut claims = json!({
            "iss": "https://accounts.google.com",
            "aud": audience,
            "azp": id,
            "sub": id,
            "email": email,
            "email_verified": true,
            "iat": now.as_second(),
            "exp": (now + LIFETIME).as_second() + 1,
        });
        if let Some(machine) = machine {
            claims["google"] = machine;
        }
        self.signer()?.sign(json!({}), &claims)
    }

    /// Returns the account of a token that is valid for `service`.
    pub(crate) fn verify(&self, token: &str, service: &str) -> Result<String, InvalidToken> {
        if token.split('.').count() != 3 || token.starts_with("ya29.") {
            let grant = self.verify_access_token(token)?;
            return if allows_service(&grant.scopes, service) {
                Ok(grant.email)
            } else {
                Err(InvalidToken::Scope)
            };
        }
        let claims = token::verify_signed(token, &self.accounts, self.wall.now()).map_err(
            |bad| match bad {
                InvalidAssertion::Time => InvalidToken::Expired,
                _ => InvalidToken::WrongIssuer,
            },
        )?;
        let for_us = claims.aud.as_ref().is_some_and(|aud| {
            aud.strip_prefix(service)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if claims.has_other_subject() {
            return Err(InvalidToken::WrongIssuer);
        }
        match &claims.scope {
            Some(scopes) if allows_service(scopes, service) => Ok(claims.iss),
            _ if for_us => Ok(claims.iss),
            Some(_) if claims.aud.is_none() => Err(InvalidToken::Scope),
            _ => Err(InvalidToken::WrongIssuer),
        }
    }
}

/// Reports whether scopes, separated by spaces, allow a service.
fn allows_service(scopes: &str, service: &str) -> bool {
    scopes
        .split(' ')
        .any(|one| one == CLOUD_PLATFORM_SCOPE || (one == CLOUD_KMS_SCOPE && service == CLOUD_KMS))
}
