//! Who callers are: service accounts, their keys, tokens, and the endpoints that give them out.

mod accounts;
mod certificates;
mod endpoints;
mod metadata;
mod token;

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

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
use token::{BadAssertion, Given, LIFETIME};

/// What callers' own tokens are for, where they are for one service.
pub(crate) const CLOUD_KMS: &str = "https://cloudkms.googleapis.com";
pub(crate) const IAM: &str = "https://iam.googleapis.com";
/// The scope of OAuth that everything can be used with, and the one that is Cloud KMS' own.
const EVERYTHING: &str = "https://www.googleapis.com/auth/cloud-platform";
const KMS_ONLY: &str = "https://www.googleapis.com/auth/cloudkms";

/// Service accounts and tokens of one emulator.
pub(crate) struct Identity {
    pub(crate) accounts: Accounts,
    /// The key of the account that is there from the start, made when it is first asked for.
    owner: OnceLock<Option<KeyFile>>,
    /// Whose tokens the metadata server gives out.
    default: RwLock<String>,
    given: Given,
    /// What signs ID tokens, made when it is first asked for.
    signer: OnceLock<Option<SigningKey>>,
    wall: Arc<dyn Clock>,
    pub(crate) auth: Auth,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

impl Identity {
    pub(crate) fn new(wall: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, auth: Auth) -> Self {
        Self {
            accounts: Accounts::default(),
            owner: OnceLock::new(),
            default: RwLock::default(),
            given: Given::default(),
            signer: OnceLock::new(),
            wall,
            auth,
            entropy,
        }
    }

    /// The well-known account and no other.
    pub(crate) fn reset(&self) {
        self.accounts.clear();
        self.given.clear();
        let keys = self.owner.get().and_then(Option::as_ref).map(|file| vec![file.into()]).unwrap_or_default();
        self.accounts.add(Account { email: OWNER.to_owned(), display_name: "kmslab".to_owned(), keys });
        self.set_default(OWNER);
    }

    /// Lets the metadata server give out tokens of that account.
    pub(crate) fn set_default(&self, email: &str) {
        email.clone_into(&mut self.default.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn default(&self) -> String {
        self.default.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key of the well-known account.
    pub(crate) fn owner(&self) -> Option<KeyFile> {
        let file = self.owner.get_or_init(|| KeyFile::generate(OWNER)).clone()?;
        self.accounts.change_keys(OWNER, |keys| {
            if keys.iter().all(|key| key.id != file.key_id) {
                keys.push((&file).into());
            }
        });
        Some(file)
    }

    /// A new access token.
    fn access_token(&self, email: &str) -> String {
        self.given.give(email, self.wall.now(), self.entropy.as_ref())
    }

    fn signer(&self) -> Option<&SigningKey> {
        self.signer.get_or_init(SigningKey::generate).as_ref()
    }

    /// A new ID token of an account; `machine` is what Google says of the machine that asked for it.
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
            return self.given.find(token, self.wall.now()).map(|(email, _)| email);
        }
        let claims = token::signed(token, &self.accounts, self.wall.now()).map_err(|bad| match bad {
            BadAssertion::Time => Refused::Expired,
            _ => Refused::Foreign,
        })?;
        let for_us = claims
            .aud
            .as_ref()
            .is_some_and(|aud| aud.strip_prefix(service).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        let in_scope = claims.scope.as_ref().is_some_and(|scope| {
            scope.split(' ').any(|one| one == EVERYTHING || (one == KMS_ONLY && service == CLOUD_KMS))
        });
        if for_us || in_scope { Ok(claims.iss) } else { Err(Refused::Foreign) }
    }
}
