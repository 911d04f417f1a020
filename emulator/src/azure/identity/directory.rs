//! The directory: one tenant with its applications, managed identities and trusted issuers.

use crate::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_OBJECT_ID, AZURE_TENANT};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jsonwebtoken::jwk::JwkSet;
use zeroize::Zeroizing;

/// An application with its service principal, or a managed identity.
#[derive(Clone)]
pub(crate) struct Application {
    /// Client id.
    pub client_id: String,
    /// Object id of its service principal; permissions refer to it.
    pub object_id: String,
    /// Display name.
    pub name: String,
    /// Client secrets.
    pub secrets: Vec<Zeroizing<String>>,
    /// Certificates to log in with, as DER.
    pub certificates: Vec<Vec<u8>>,
    /// Federated credentials.
    pub federated: Vec<Federated>,
    /// Resource id, if this is a managed identity. The instance metadata service returns its
    /// tokens.
    pub managed: Option<String>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("client_id", &self.client_id)
            .field("object_id", &self.object_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A federated credential; the assertion must match all three fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Federated {
    /// `iss` of the assertion.
    pub issuer: String,
    /// `sub` of the assertion, such as `system:serviceaccount:kube-system:kms-plugin`.
    pub subject: String,
    /// `aud` of the assertion, usually `api://AzureADTokenExchange`.
    pub audience: String,
}

/// An external token issuer and its keys.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    /// `iss` of its assertions.
    pub url: String,
    /// Its key set.
    pub keys: JwkSet,
}

/// Resource id of a user-assigned identity. The only subscription has the tenant's id.
pub(crate) fn managed_identity_id(group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{AZURE_TENANT}/resourcegroups/{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

/// The tenant's directory.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) tenant: String,
    known: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    applications: Vec<Arc<Application>>,
    issuers: Vec<Arc<Issuer>>,
}

impl Directory {
    pub(crate) fn new(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            known: RwLock::default(),
        }
    }

    /// The application that may do everything in the default vault.
    pub(crate) fn well_known() -> Application {
        Application {
            client_id: AZURE_CLIENT_ID.to_owned(),
            object_id: AZURE_OBJECT_ID.to_owned(),
            name: "test".to_owned(),
            secrets: vec![Zeroizing::new(AZURE_CLIENT_SECRET.to_owned())],
            certificates: Vec::new(),
            federated: Vec::new(),
            managed: Some(managed_identity_id("kmslab", "test")),
        }
    }

    /// Adds an application or replaces the one with the same client id.
    pub(crate) fn add(&self, application: Application) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known
            .applications
            .retain(|there| there.client_id != application.client_id);
        known.applications.push(Arc::new(application));
    }

    /// Removes an application.
    pub(crate) fn remove(&self, client_id: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known
            .applications
            .retain(|there| !there.client_id.eq_ignore_ascii_case(client_id));
    }

    /// Reports whether a principal has that object id.
    pub(crate) fn has_principal(&self, object_id: &str) -> bool {
        self.find(|there| there.object_id.eq_ignore_ascii_case(object_id))
            .is_some()
    }

    /// Adds a trusted issuer.
    pub(crate) fn trust(&self, issuer: Issuer) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.issuers.retain(|there| there.url != issuer.url);
        known.issuers.push(Arc::new(issuer));
    }

    /// All applications, in the order in which they were added.
    pub(crate) fn applications(&self) -> Vec<Arc<Application>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.applications.clone()
    }

    /// All trusted issuers.
    pub(crate) fn issuers(&self) -> Vec<Arc<Issuer>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.issuers.clone()
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Entries::default();
    }

    pub(crate) fn application(&self, client_id: &str) -> Option<Arc<Application>> {
        self.find(|there| there.client_id.eq_ignore_ascii_case(client_id))
    }

    pub(crate) fn find(
        &self,
        requested: impl Fn(&Application) -> bool,
    ) -> Option<Arc<Application>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .applications
            .iter()
            .find(|there| requested(there))
            .cloned()
    }

    pub(crate) fn issuer(&self, url: &str) -> Option<Arc<Issuer>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.issuers.iter().find(|there| there.url == url).cloned()
    }

    /// Reports whether the first segment of a path names this tenant.
    pub(crate) fn is_tenant(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(&self.tenant)
    }
}
