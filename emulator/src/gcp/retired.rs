//! Deletion of destroyed versions and of keys without versions. A deleted key leaves a retired
//! resource, so that its name is not used again.
//!
//! Both are `google.longrunning` operations that are done when they are returned. The public API
//! cannot delete key rings.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use kmslab_googleapis::google::longrunning::operation::Result as Outcome;
use kmslab_googleapis::google::longrunning::{GetOperationRequest, Operation};
use kmslab_googleapis::kms;
use kmslab_keycore::{KeyError, VersionState};
use prost::Name;
use prost_types::Any;

use super::auth::Caller;
use super::names::{KeyName, Location};
use super::page::{PageRequest, page};
use super::{Gcp, GcpError, data, keys, rings, versions, wire};

/// Number of operations that can be queried; older ones are dropped.
const MAX_OPERATIONS: usize = 1000;
const KEY_TYPE: &str = "cloudkms.googleapis.com/CryptoKey";

/// Names of deleted keys, and the operations that deleted something.
#[derive(Debug, Default)]
pub(crate) struct Retired(RwLock<Records>);

#[derive(Debug, Default)]
struct Records {
    /// By key name: id of the retired resource and time of the deletion.
    keys: BTreeMap<KeyName, (String, Timestamp)>,
    operations: VecDeque<Operation>,
}

impl Retired {
    fn read(&self) -> RwLockReadGuard<'_, Records> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Records> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `make` unless a deleted key has the name; no key is deleted meanwhile.
    pub(crate) fn create<T>(
        &self,
        name: &KeyName,
        create: impl FnOnce() -> Result<T, GcpError>,
    ) -> Result<T, GcpError> {
        let records = self.read();
        if records.keys.contains_key(name) {
            return Err(GcpError::already_exists("CryptoKey", name));
        }
        create()
    }

    /// Name, id of the retired resource and time of the deletion of all deleted keys.
    pub(crate) fn all(&self) -> Vec<(KeyName, String, Timestamp)> {
        let records = self.read();
        let keys = records.keys.iter();
        keys.map(|(name, (id, deleted))| (name.clone(), id.clone(), *deleted))
            .collect()
    }

    /// Notes a deleted key, for seeds.
    pub(crate) fn put(&self, name: KeyName, id: String, deleted: Timestamp) {
        self.write().keys.insert(name, (id, deleted));
    }

    pub(crate) fn clear(&self) {
        *self.write() = Records::default();
    }

    fn of(&self, location: &Location) -> Vec<kms::RetiredResource> {
        let records = self.read();
        let here = records
            .keys
            .iter()
            .filter(|(name, _)| name.ring.location == *location);
        let mut all: Vec<_> = here
            .map(|(name, (id, deleted))| to_proto(name, id, *deleted))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn finished(&self, operation: Operation) -> Operation {
        let operations = &mut self.write().operations;
        if operations.len() == MAX_OPERATIONS {
            operations.pop_front();
        }
        operations.push_back(operation.clone());
        operation
    }
}

fn record_name(location: &Location, id: &str) -> String {
    format!("{location}/retiredResources/{id}")
}

fn to_proto(name: &KeyName, id: &str, deleted: Timestamp) -> kms::RetiredResource {
    kms::RetiredResource {
        name: record_name(&name.ring.location, id),
        original_resource: name.to_string(),
        resource_type: KEY_TYPE.to_owned(),
        delete_time: Some(wire::to_proto_timestamp(deleted)),
    }
}

/// A finished operation with an empty response.
fn operation<M: Name>(gcp: &Gcp, location: &Location, metadata: &M) -> Operation {
    let any = |url: String, value| Any {
        type_url: format!("type.googleapis.com/{url}"),
        value,
    };
    let name = format!(
        "{location}/operations/{}",
        hex::encode(&*gcp.core.random(16))
    );
    gcp.retired.finished(Operation {
        name,
        metadata: Some(any(M::full_name(), metadata.encode_to_vec())),
        done: true,
        result: Some(Outcome::Response(any(
            "google.protobuf.Empty".to_owned(),
            Vec::new(),
        ))),
    })
}

pub(crate) fn delete_version(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DeleteCryptoKeyVersionRequest,
) -> Result<Operation, GcpError> {
    let name = versions::parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeyVersions.delete", &request.name)?;
    let version = gcp.version(&name)?;
    if data::import(&version).is_some() {
        return Err(GcpError::precondition(format!(
            "{name} was imported: imported versions can not be deleted."
        )));
    }
    version.remove().map_err(|error| match error {
        KeyError::InvalidTransition { from, .. } => {
            let state = wire::state_name(from);
            let destroyed = wire::state_name(VersionState::Destroyed);
            GcpError::precondition(format!(
                "{name} must be in state {destroyed}, current state is: {state}."
            ))
        }
        error => GcpError::from_version_error(&name, error),
    })?;
    Ok(operation(
        gcp,
        &name.key.ring.location,
        &kms::DeleteCryptoKeyVersionMetadata {},
    ))
}

pub(crate) fn delete_key(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::DeleteCryptoKeyRequest,
) -> Result<Operation, GcpError> {
    let name = keys::parse_name(&request.name)?;
    gcp.allow(caller, "cloudkms.cryptoKeys.delete", &request.name)?;
    let key = gcp.key(&name)?;
    let id = hex::encode(&*gcp.core.random(16));
    let mut records = gcp.retired.write();
    key.remove_without_versions().map_err(|error| match error {
        KeyError::HasVersions { .. } => GcpError::precondition(format!(
            "CryptoKey {name} still has versions: delete them first."
        )),
        error => GcpError::from_key_error(&name, error),
    })?;
    records
        .keys
        .insert(name.clone(), (id.clone(), gcp.core.now()));
    drop(records);
    let location = &name.ring.location;
    let metadata = kms::DeleteCryptoKeyMetadata {
        retired_resource: record_name(location, &id),
    };
    Ok(operation(gcp, location, &metadata))
}

pub(crate) fn list(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ListRetiredResourcesRequest,
) -> Result<kms::ListRetiredResourcesResponse, GcpError> {
    let location = rings::parse_location(&request.parent)?;
    gcp.allow(caller, "cloudkms.retiredResources.list", &request.parent)?;
    let requested = PageRequest {
        size: request.page_size,
        token: &request.page_token,
        filter: "",
        order_by: "",
    };
    let page = page(gcp.retired.of(&location), requested)?;
    Ok(kms::ListRetiredResourcesResponse {
        retired_resources: page.items,
        next_page_token: page.next,
        total_size: page.total.into(),
    })
}

pub(crate) fn get(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GetRetiredResourceRequest,
) -> Result<kms::RetiredResource, GcpError> {
    let (location, _) = request
        .name
        .split_once("/retiredResources/")
        .unwrap_or((&request.name, ""));
    let location = Location::parse(location)
        .ok_or_else(|| GcpError::bad_name(&request.name, "RetiredResource"))?;
    gcp.allow(caller, "cloudkms.retiredResources.get", &request.name)?;
    let found = gcp
        .retired
        .of(&location)
        .into_iter()
        .find(|record| record.name == request.name);
    found.ok_or_else(|| GcpError::not_found("RetiredResource", &request.name))
}

pub(crate) fn get_operation(
    gcp: &Gcp,
    caller: &Caller,
    request: GetOperationRequest,
) -> Result<Operation, GcpError> {
    gcp.allow(caller, "cloudkms.operations.get", &request.name)?;
    let records = gcp.retired.read();
    let found = records
        .operations
        .iter()
        .find(|operation| operation.name == request.name)
        .cloned();
    found.ok_or_else(|| GcpError::not_found("Operation", &request.name))
}
