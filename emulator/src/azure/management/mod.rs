//! Azure Resource Manager and Microsoft Graph, as far as the guide's commands use them: resource
//! groups, vaults, managed identities, role assignments and principals. The data plane enforces
//! what is set here.
//!
//! Paths are compared without regard to case: the CLI itself writes both `resourcegroups` and
//! `resourceGroups`.

mod error;
mod graph;
mod groups;
mod identities;
mod roles;
pub(crate) mod service;
mod vaults;

use crate::well_known::{AZURE_OBJECT_ID, AZURE_TENANT};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use http::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) use error::ArmError;

use super::Azure;
use super::auth::Principal;
use groups::Group;
pub(crate) use roles::Assignment;

/// Operations in the request counts.
pub(crate) const OPERATIONS: &[&str] = &["Graph", "ResourceManager"];

/// The only subscription. Its id is the default tenant's, whatever tenant is configured.
pub(crate) const SUBSCRIPTION: &str = AZURE_TENANT;

/// The resource groups.
#[derive(Debug, Default)]
pub(crate) struct Management(RwLock<Groups>);

type Groups = std::collections::BTreeMap<String, Group>;

impl Management {
    fn read(&self) -> RwLockReadGuard<'_, Groups> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Groups> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) {
        self.write().clear();
    }

    /// Creates a group unless it exists.
    pub(crate) fn ensure_group(&self, name: &str, location: &str) {
        self.write()
            .entry(name.to_ascii_lowercase())
            .or_insert_with(|| Group::new(name, location));
    }
}

/// An authenticated request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) who: &'a Principal,
}

/// A response; `null` means no body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ManagementResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl ManagementResponse {
    fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body,
        }
    }

    fn created(body: Value, is_new: bool) -> Self {
        Self {
            status: if is_new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            },
            body,
        }
    }

    fn empty(status: StatusCode) -> Self {
        Self {
            status,
            body: Value::Null,
        }
    }
}

type Outcome = Result<ManagementResponse, ArmError>;

impl Azure {
    /// Answers a request to `management.azure.com`.
    pub(crate) fn manage(&self, request: Request<'_>) -> Outcome {
        self.purge_due();
        let lower = request.path.to_ascii_lowercase();
        let segments: Vec<&str> = lower
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        // With their case, for names.
        let written: Vec<&str> = request
            .path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        let get = request.method == Method::GET;
        let owns = self.identity.auth.is_off()
            || request.who.object_id.eq_ignore_ascii_case(AZURE_OBJECT_ID);
        if get && segments[..] == ["subscriptions"] {
            // Every authenticated caller may list the subscriptions that it has access to.
            let his: Vec<Value> = owns.then(|| self.subscription()).into_iter().collect();
            return Ok(ManagementResponse::ok(json!({ "value": his })));
        }
        // Only the subscription's owner may do anything: roles apply to the content of vaults only.
        if !owns {
            return Err(ArmError::forbidden(
                request.who,
                request.method,
                request.path,
            ));
        }
        let at = |index: usize| written.get(index).copied().unwrap_or_default();
        if let ["subscriptions", subscription, ..] = segments[..]
            && subscription != SUBSCRIPTION
        {
            return Err(ArmError::no_subscription(at(1)));
        }
        match segments[..] {
            ["subscriptions", _] if get => Ok(ManagementResponse::ok(self.subscription())),
            ["subscriptions", _, "resources"] if get => self.resources(request),
            ["subscriptions", _, "resourcegroups"] if get => self.list_groups(),
            ["subscriptions", _, "resourcegroups", _] => self.group(request, at(3)),
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                "microsoft.keyvault",
                "vaults",
                _,
            ] => self.vault(request, at(3), at(7)),
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.keyvault",
                "vaults",
            ] if get => self.list_vaults(None),
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                "microsoft.keyvault",
                "vaults",
            ] if get => self.list_vaults(Some(at(3))),
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.keyvault",
                "deletedvaults",
            ] if get => self.list_deleted_vaults(),
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.keyvault",
                "locations",
                _,
                "deletedvaults",
                _,
            ] if get => self.deleted_vault(at(7)),
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.keyvault",
                "locations",
                _,
                "deletedvaults",
                _,
                "purge",
            ] if request.method == Method::POST => self.purge_vault(at(7)),
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                "microsoft.managedidentity",
                "userassignedidentities",
                _,
            ] => self.managed_identity(request, at(3), at(7)),
            [
                ..,
                "providers",
                "microsoft.authorization",
                "roledefinitions",
            ] if get => self.role_definitions(request),
            [
                ..,
                "providers",
                "microsoft.authorization",
                "roleassignments",
            ] if get => self.list_assignments(request),
            [
                ..,
                "providers",
                "microsoft.authorization",
                "roleassignments",
                _,
            ] => self.assignment(request),
            _ => Err(ArmError::no_such_path(request.path)),
        }
    }

    pub(super) fn tenant(&self) -> &str {
        &self.identity.directory.tenant
    }

    fn subscription(&self) -> Value {
        json!({
            "id": format!("/subscriptions/{SUBSCRIPTION}"),
            "authorizationSource": "RoleBased",
            "subscriptionId": SUBSCRIPTION,
            "tenantId": self.tenant(),
            "displayName": "kmslab",
            "state": "Enabled",
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
        })
    }
}

/// The JSON body, which every PUT has.
fn body(request: Request<'_>) -> Result<Value, ArmError> {
    serde_json::from_slice(request.body).map_err(|error| ArmError::invalid_content(&error))
}

fn method_not_allowed(request: Request<'_>) -> Outcome {
    Err(ArmError::method_not_allowed(request.method))
}
