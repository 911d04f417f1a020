//! The API operations, as kube-apiserver implements them for the modelled resources.

use async_trait::async_trait;
use serde_json::Value;

use super::super::{Api, ApiError, ObjectRef, Resource};
use super::objects::defaults::{self, storage_version};
use super::objects::json::{meta, metadata_mut, section_mut};
use super::objects::{self, validate};
use super::server::{CurrentObject, Server};
use super::state::rfc3339;
use super::{Shared, errors};

/// Maximum size of a request body in bytes.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// Maximum size of an etcd request in bytes, `--max-request-bytes`.
const MAX_ETCD_REQUEST_BYTES: usize = 1536 * 1024;
/// Namespaces that cannot be deleted.
const PROTECTED_NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];

/// The API of the current server.
#[derive(Debug)]
pub(crate) struct ModelApi(pub(crate) std::sync::Arc<Shared>);

/// A resource as it is served, and the version in which its objects are stored.
struct ServedResource {
    resource: Resource,
    stored: String,
}

impl ServedResource {
    fn built_in(resource: Resource) -> Self {
        let stored = resource.api_version();
        Self { resource, stored }
    }
}

fn built_ins() -> [Resource; 4] {
    [
        Resource::secrets(),
        Resource::config_maps(),
        Resource::namespaces(),
        Resource::crds(),
    ]
}

impl Server {
    /// The resource that an object belongs to.
    async fn resource_of_object(&self, object: &Value) -> Result<ServedResource, ApiError> {
        let (api_version, kind) = (
            object["apiVersion"].as_str().unwrap_or_default(),
            object["kind"].as_str().unwrap_or_default(),
        );
        if let Some(known) = built_ins()
            .into_iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
        {
            return Ok(ServedResource::built_in(known));
        }
        let (group, version) = api_version.split_once('/').ok_or_else(errors::not_served)?;
        let crds = Resource::crds();
        for (key, live) in self.store.range_below(&crds.etcd_prefix()).1 {
            let decrypted = self
                .decrypt(&crds, &key, &live)
                .await
                .map_err(errors::internal)?;
            let definition = objects::decode(&decrypted.plaintext).map_err(errors::unknown)?;
            if definition["spec"]["group"] == group && definition["spec"]["names"]["kind"] == kind {
                return served_by(&definition, version).ok_or_else(errors::not_served);
            }
        }
        Err(errors::not_served())
    }

    /// The resource that a request names.
    async fn resource_of_request(&self, requested: &Resource) -> Result<ServedResource, ApiError> {
        let same = |r: &Resource| {
            (&r.group, &r.version, &r.plural)
                == (&requested.group, &requested.version, &requested.plural)
        };
        if let Some(known) = built_ins().into_iter().find(same) {
            return Ok(ServedResource::built_in(known));
        }
        let crds = Resource::crds();
        let name = requested.group_resource();
        let definition = match self
            .state(&crds, &format!("{}{name}", crds.etcd_prefix()), &name)
            .await
        {
            Ok(current) => {
                objects::decode(&current.decrypted.plaintext).map_err(errors::unknown)?
            }
            Err(err) if err.status == 404 => return Err(errors::not_served()),
            Err(err) => return Err(err),
        };
        served_by(&definition, &requested.version).ok_or_else(errors::not_served)
    }

    /// The key of an object, which must have a namespace exactly if its resource is namespaced.
    fn key(
        &self,
        served: &ServedResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<String, ApiError> {
        match namespace.filter(|namespace| !namespace.is_empty()) {
            None if served.resource.namespaced => Err(errors::method_not_allowed()),
            Some(_) if !served.resource.namespaced => Err(errors::not_served()),
            namespace => Ok(ObjectRef::new(served.resource.clone(), namespace, name).etcd_key()),
        }
    }

    /// The object as clients see it.
    fn to_client_object(
        &self,
        served: &ServedResource,
        plaintext: &[u8],
        revision: i64,
    ) -> Result<Value, ApiError> {
        let mut object = objects::decode(plaintext).map_err(errors::unknown)?;
        metadata_mut(&mut object).insert("resourceVersion".into(), revision.to_string().into());
        object["apiVersion"] = served.resource.api_version().into();
        Ok(object)
    }

    /// The object in its storage version, serialized.
    fn to_stored_plaintext(
        &self,
        served: &ServedResource,
        object: &Value,
    ) -> Result<Vec<u8>, ApiError> {
        let mut object = object.clone();
        object["apiVersion"] = served.stored.clone().into();
        objects::encode(&served.resource, &object).map_err(|why| unhandled(&served.resource, &why))
    }

    /// The value for etcd, which has its own size limit.
    fn encrypt(
        &self,
        resource: &Resource,
        key: &str,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, ApiError> {
        let value = self
            .chain(resource)
            .write(key, plaintext)
            .map_err(errors::internal)?;
        if value.len() + key.len() > MAX_ETCD_REQUEST_BYTES {
            return Err(errors::unknown("etcdserver: request is too large"));
        }
        Ok(value)
    }

    /// Rejects creating an object in a namespace that does not exist or is being deleted.
    async fn check_namespace(
        &self,
        resource: &Resource,
        name: &str,
        namespace: &str,
    ) -> Result<(), ApiError> {
        let namespaces = Resource::namespaces();
        let key = format!("{}{namespace}", namespaces.etcd_prefix());
        let current = self.state(&namespaces, &key, namespace).await?;
        let object = objects::decode(&current.decrypted.plaintext).map_err(errors::unknown)?;
        if object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        Err(errors::forbidden(resource, name, &why))
    }

    async fn create(&self, requested: &Value) -> Result<Value, ApiError> {
        check_size(requested)?;
        let served = self.resource_of_object(requested).await?;
        let resource = &served.resource;
        let mut object =
            objects::normalise(resource, requested).map_err(|why| unhandled(resource, &why))?;
        if !meta(&object, "resourceVersion").is_empty() {
            return Err(errors::unknown(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if meta(&object, "name").is_empty() && !meta(&object, "generateName").is_empty() {
            let name = format!("{}{}", meta(&object, "generateName"), self.random.suffix());
            metadata_mut(&mut object).insert("name".into(), name.into());
        }
        let object = defaults::create(resource, object, self.random.uuid(), rfc3339(self.now()));
        let (name, namespace) = (meta(&object, "name"), meta(&object, "namespace"));
        let key = self.key(&served, Some(namespace), name)?;
        if resource.namespaced {
            self.check_namespace(resource, name, namespace).await?;
        }
        let faults = validate::create(resource, &object);
        if !faults.is_empty() {
            return Err(errors::invalid(resource, name, &faults));
        }
        let plaintext = self.to_stored_plaintext(&served, &object)?;
        // Encryption precedes the check whether the name is in use, as in kube-apiserver.
        let value = self.encrypt(resource, &key, &plaintext)?;
        let revision = self
            .store
            .put_if(&key, 0, value)
            .ok_or_else(|| errors::already_exists(resource, name))?;
        self.to_client_object(&served, &plaintext, revision)
    }

    async fn get(&self, at: &ObjectRef) -> Result<Value, ApiError> {
        let served = self.resource_of_request(&at.resource).await?;
        let key = self.key(&served, at.namespace.as_deref(), &at.name)?;
        let current = self.state(&served.resource, &key, &at.name).await?;
        self.to_client_object(&served, &current.decrypted.plaintext, current.revision)
    }

    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ApiError> {
        let served = self.resource_of_request(resource).await?;
        let mut prefix = served.resource.etcd_prefix();
        if let Some(namespace) = namespace.filter(|_| served.resource.namespaced) {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        let mut objects = Vec::new();
        for (key, live) in self.store.range_below(&prefix).1 {
            let decrypted = self.decrypt(&served.resource, &key, &live).await;
            let decrypted = decrypted.map_err(|err| {
                errors::internal(format!("unable to transform key {key:?}: {err}"))
            })?;
            objects.push(self.to_client_object(
                &served,
                &decrypted.plaintext,
                live.mod_revision,
            )?);
        }
        Ok(objects)
    }

    async fn replace(&self, requested: &Value) -> Result<Value, ApiError> {
        check_size(requested)?;
        let served = self.resource_of_object(requested).await?;
        let resource = &served.resource;
        let normal =
            objects::normalise(resource, requested).map_err(|why| unhandled(resource, &why))?;
        let name = meta(&normal, "name").to_owned();
        let key = self.key(&served, Some(meta(&normal, "namespace")), &name)?;
        loop {
            let current = self.state(resource, &key, &name).await?;
            let plaintext = self.updated_plaintext(&served, &normal, &name, &current)?;
            if let Some(last) = self.released_object(&plaintext)? {
                // With its last finalizer removed, a deleted object is gone.
                if self.store.delete_if(&key, current.revision) {
                    return Ok(last);
                }
                continue;
            }
            if let Some(revision) = self.guaranteed_update(resource, &key, &current, &plaintext)? {
                return self.to_client_object(&served, &plaintext, revision);
            }
        }
    }

    /// The new plaintext. An update that changes nothing keeps the old bytes, including what the
    /// model does not know in them.
    fn updated_plaintext(
        &self,
        served: &ServedResource,
        requested: &Value,
        name: &str,
        current: &CurrentObject,
    ) -> Result<Vec<u8>, ApiError> {
        let resource = &served.resource;
        let mut old = objects::decode(&current.decrypted.plaintext).map_err(errors::unknown)?;
        old["apiVersion"] = resource.api_version().into();
        match meta(requested, "resourceVersion") {
            // Custom resources have no unconditional update.
            "" if !built_ins().contains(resource) => {
                let fault =
                    "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                        .to_owned();
                return Err(errors::invalid(resource, name, &[fault]));
            }
            "" => {}
            version if version == current.revision.to_string() => {}
            _ => return Err(errors::conflict(resource, name)),
        }
        let (uid, old_uid) = (meta(requested, "uid"), meta(&old, "uid"));
        if !uid.is_empty() && uid != old_uid {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"
            );
            return Err(errors::conflict_because(resource, name, &why));
        }
        let new = defaults::update(resource, requested.clone(), &old);
        let faults = validate::update(resource, &new, &old);
        if !faults.is_empty() {
            return Err(errors::invalid(resource, name, &faults));
        }
        if new == old {
            Ok(current.decrypted.plaintext.to_vec())
        } else {
            self.to_stored_plaintext(served, &new)
        }
    }

    /// The object, if it was deleted before and has no finalizer left. Namespaces have finalizers
    /// of their own.
    fn released_object(&self, plaintext: &[u8]) -> Result<Option<Value>, ApiError> {
        let object = objects::decode(plaintext).map_err(errors::unknown)?;
        let held = |finalizers: &Value| finalizers.as_array().is_some_and(|list| !list.is_empty());
        let held = held(&object["metadata"]["finalizers"]) || held(&object["spec"]["finalizers"]);
        Ok((!held && !object["metadata"]["deletionTimestamp"].is_null()).then_some(object))
    }

    /// Finishes an update: nothing is written if the bytes are the same and not stale. `None` if
    /// another write came first.
    fn guaranteed_update(
        &self,
        resource: &Resource,
        key: &str,
        current: &CurrentObject,
        plaintext: &[u8],
    ) -> Result<Option<i64>, ApiError> {
        if !current.decrypted.stale && current.decrypted.plaintext.as_slice() == plaintext {
            return Ok(Some(current.revision));
        }
        let value = self.encrypt(resource, key, plaintext)?;
        Ok(self.store.put_if(key, current.revision, value))
    }

    async fn touch(&self, at: &ObjectRef) -> Result<String, ApiError> {
        let served = self.resource_of_request(&at.resource).await?;
        let key = self.key(&served, at.namespace.as_deref(), &at.name)?;
        loop {
            let current = self.state(&served.resource, &key, &at.name).await?;
            objects::decode(&current.decrypted.plaintext).map_err(errors::unknown)?;
            let plaintext = &current.decrypted.plaintext;
            if let Some(revision) =
                self.guaranteed_update(&served.resource, &key, &current, plaintext)?
            {
                return Ok(revision.to_string());
            }
        }
    }

    async fn delete(&self, at: &ObjectRef) -> Result<(), ApiError> {
        let served = self.resource_of_request(&at.resource).await?;
        let resource = &served.resource;
        let key = self.key(&served, at.namespace.as_deref(), &at.name)?;
        let is_namespace = *resource == Resource::namespaces();
        if is_namespace && PROTECTED_NAMESPACES.contains(&at.name.as_str()) {
            return Err(errors::forbidden(
                resource,
                &at.name,
                "this namespace may not be deleted",
            ));
        }
        loop {
            let current = self.state(resource, &key, &at.name).await?;
            let mut object =
                objects::decode(&current.decrypted.plaintext).map_err(errors::unknown)?;
            let finalizers = object["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|list| !list.is_empty());
            if !finalizers && !is_namespace {
                if *resource == Resource::crds() {
                    self.delete_instances(&object);
                }
                if self.store.delete_if(&key, current.revision) {
                    return Ok(());
                }
                continue;
            }
            if !object["metadata"]["deletionTimestamp"].is_null() {
                return if is_namespace {
                    Err(errors::conflict_because(
                        resource,
                        &at.name,
                        NAMESPACE_TERMINATING,
                    ))
                } else {
                    Ok(())
                };
            }
            metadata_mut(&mut object)
                .insert("deletionTimestamp".into(), rfc3339(self.now()).into());
            if is_namespace {
                section_mut(&mut object, "status").insert("phase".into(), "Terminating".into());
            } else {
                metadata_mut(&mut object).insert("deletionGracePeriodSeconds".into(), 0.into());
            }
            let plaintext = self.to_stored_plaintext(&served, &object)?;
            if self
                .guaranteed_update(resource, &key, &current, &plaintext)?
                .is_some()
            {
                return Ok(());
            }
        }
    }

    /// Deleting a definition deletes the objects of its kind.
    fn delete_instances(&self, definition: &Value) {
        let Some(ServedResource { resource, .. }) =
            storage_version(definition).and_then(|version| served_by(definition, version))
        else {
            return;
        };
        for (key, live) in self.store.range_below(&resource.etcd_prefix()).1 {
            self.store.delete_if(&key, live.mod_revision);
        }
    }
}

/// Why a namespace cannot be deleted twice.
const NAMESPACE_TERMINATING: &str = "The system is ensuring all content is removed from this namespace.  Upon completion, this namespace will \
    automatically be purged by the system.";

/// What a CustomResourceDefinition serves in a version.
fn served_by(definition: &Value, version: &str) -> Option<ServedResource> {
    let spec = &definition["spec"];
    let stored = storage_version(definition)?;
    let found = spec["versions"]
        .as_array()?
        .iter()
        .find(|known| known["name"] == version)?;
    // The storage version of a definition that is being deleted may no longer be served; its
    // objects are deleted all the same.
    if found["served"] == false && version != stored {
        return None;
    }
    let (group, names) = (spec["group"].as_str()?, &spec["names"]);
    let namespaced = spec["scope"] == "Namespaced";
    let resource = Resource::new(
        group,
        version,
        names["plural"].as_str()?,
        names["kind"].as_str()?,
        namespaced,
    );
    Some(ServedResource {
        stored: format!("{group}/{stored}"),
        resource,
    })
}

fn check_size(requested: &Value) -> Result<(), ApiError> {
    if requested.to_string().len() > MAX_BODY_BYTES {
        Err(errors::too_large(MAX_BODY_BYTES))
    } else {
        Ok(())
    }
}

fn unhandled(resource: &Resource, why: &str) -> ApiError {
    let (kind, version) = (&resource.kind, &resource.version);
    errors::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
    ))
}

#[async_trait]
impl Api for ModelApi {
    async fn create(&self, object: &Value) -> Result<Value, ApiError> {
        self.0.server()?.create(object).await
    }
    async fn get(&self, at: &ObjectRef) -> Result<Value, ApiError> {
        self.0.server()?.get(at).await
    }
    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ApiError> {
        self.0.server()?.list(resource, namespace).await
    }
    async fn replace(&self, object: &Value) -> Result<Value, ApiError> {
        self.0.server()?.replace(object).await
    }
    async fn touch(&self, at: &ObjectRef) -> Result<String, ApiError> {
        self.0.server()?.touch(at).await
    }
    async fn delete(&self, at: &ObjectRef) -> Result<(), ApiError> {
        self.0.server()?.delete(at).await
    }
}
