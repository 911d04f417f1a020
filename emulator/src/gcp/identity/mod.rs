//! Who callers are: service accounts, their keys, tokens, and the endpoints that give them out.

mod access_token;
mod accounts;
mod certificates;
mod endpoints;
mod metadata;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use kmslab_keycore::{Clock, Entropy};
use serde_json::{Value, json};

pub(crate) use accounts::{Account, Accounts, address, client_id, project_of};
pub use accounts::{KeyFile, TOKEN_URI};
pub(crate) use endpoints::{Content, METADATA, Request};
pub(crate) use metadata::etag;
pub(crate) use token::Refused;

use super::auth::OWNER;
use crate::Auth;
use crate::oauth::SigningKey;
use access_token::{Grant, LIFETIME, Seals};
use token::BadAssertion;

/// What callers' own tokens are for, where they are for one service.
pub(crate) const CLOUD_KMS: &str = "https://cloudkms.googleapis.com";
pub(crate) const IAM: &str = "https://iam.googleapis.com";
/// The scope of OAuth that everything can be used with, and the one that is Cloud KMS' own.
const EVERYTHING: &str = "https://www.googleapis.com/auth/cloud-platform";
const KMS_ONLY: &str = "https://www.googleapis.com/auth/cloudkms";

/// A token that is about to end in this many seconds is not given out again.
const KEPT_UNTIL: i64 = 300;
/// Tokens that the metadata server keeps, one for each combination of scopes that somebody asks
/// for.
const MOST_CACHED: usize = 64;

/// Service accounts and tokens of one emulator.
pub(crate) struct Identity {
    pub(crate) accounts: Accounts,
    /// The key of the account that is there from the start, made when it is first asked for.
    owner: OnceLock<Option<KeyFile>>,
    /// Whose tokens the metadata server gives out.
    default: RwLock<String>,
    seals: Seals,
    /// Tokens that the metadata server gave out last, and gives again until they are about to end.
    cached: Mutex<BTreeMap<(String, String), (String, i64)>>,
    /// What signs ID tokens, made when it is first asked for.
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
            seals: Seals::new(entropy.as_ref()),
            cached: Mutex::default(),
            signer: OnceLock::new(),
            wall,
            auth,
            entropy,
        }
    }

    /// The well-known account and no other.
    pub(crate) fn reset(&self) {
        self.accounts.clear();
        self.seals.renew(self.entropy.as_ref());
        self.cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let keys = self
            .owner
            .get()
            .and_then(Option::as_ref)
            .map(|file| vec![file.into()])
            .unwrap_or_default();
        self.accounts.add(Account {
            email: OWNER.to_owned(),
            display_name: "kmslab".to_owned(),
            keys,
        });
        self.set_default(OWNER);
    }

    /// Lets the metadata server give out tokens of that account.
    pub(crate) fn set_default(&self, email: &str) {
        email.clone_into(&mut self.default.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn default(&self) -> String {
        self.default
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The key of the well-known account.
    pub(crate) fn owner(&self) -> Option<KeyFile> {
        let file = self
            .owner
            .get_or_init(|| KeyFile::generate(OWNER))
            .clone()?;
        self.accounts.change_keys(OWNER, |keys| {
            if keys.iter().all(|key| key.id != file.key_id) {
                keys.push((&file).into());
            }
        });
        Some(file)
    }

    /// A new access token for what `scopes` name, separated by spaces, and when it ends.
    fn access_token(&self, email: &str, scopes: &str) -> (String, i64) {
        let mut unique = [0; 8];
        self.entropy.fill(&mut unique);
        let grant = Grant {
            email: email.to_owned(),
            serial: self.accounts.serial(email).unwrap_or(u64::MAX),
            scopes: scopes.to_owned(),
            ends: (self.wall.now() + LIFETIME).as_second(),
            unique: u64::from_le_bytes(unique),
        };
        (self.seals.seal(&grant), grant.ends)
    }

    /// The metadata server's token: the same until five minutes before its end.
    /// <https://docs.cloud.google.com/compute/docs/access/authenticate-workloads>
    fn cached_token(&self, email: &str, scopes: &str) -> (String, i64) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.wall.now().as_second();
        let name = (email.to_owned(), scopes.to_owned());
        if let Some((token, ends)) = cached
            .get(&name)
            .filter(|(_, ends)| ends - now > KEPT_UNTIL)
        {
            return (token.clone(), *ends);
        }
        if cached.len() >= MOST_CACHED {
            cached.clear();
        }
        let made = self.access_token(email, scopes);
        cached.insert(name, made.clone());
        made
    }

    /// What an access token is for, if it holds now. Tokens of a deleted account do not; those of a
    /// deleted key do.
    /// <https://docs.cloud.google.com/iam/docs/keys-create-delete>
    fn granted(&self, token: &str) -> Result<Grant, Refused> {
        let grant = self.seals.open(token, self.wall.now())?;
        if self.accounts.serial(&grant.email) == Some(grant.serial) {
            Ok(grant)
        } else {
            Err(Refused::Foreign)
        }
    }

    fn signer(&self) -> Option<&SigningKey> {
        self.signer.get_or_init(SigningKey::generate).as_ref()
    }

    /// A new ID token of an account; `machine` is what Google says of the machine that asked for
    /// it.
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

    /// Whose token it is, if it holds now for a service.
    pub(crate) fn verify(&self, token: &str, service: &str) -> Result<String, Refused> {
        if token.split('.').count() != 3 || token.starts_with("ya29.") {
            let grant = self.granted(token)?;
            return if is_for(&grant.scopes, service) {
                Ok(grant.email)
            } else {
                Err(Refused::Scope)
            };
        }
        let claims =
            token::signed(token, &self.accounts, self.wall.now()).map_err(|bad| match bad {
                BadAssertion::Time => Refused::Expired,
                _ => Refused::Foreign,
            })?;
        let for_us = claims.aud.as_ref().is_some_and(|aud| {
            aud.strip_prefix(service)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if claims.is_for_another() {
            return Err(Refused::Foreign);
        }
        match &claims.scope {
            Some(scopes) if is_for(scopes, service) => Ok(claims.iss),
            _ if for_us => Ok(claims.iss),
            Some(_) if claims.aud.is_none() => Err(Refused::Scope),
            _ => Err(Refused::Foreign),
        }
    }
}

/// Whether scopes, separated by spaces, are good for a service.
fn is_for(scopes: &str, service: &str) -> bool {
    scopes
        .split(' ')
        .any(|one| one == EVERYTHING || (one == KMS_ONLY && service == CLOUD_KMS))
}
