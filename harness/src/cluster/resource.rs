//! Resources and objects: names, API paths and etcd keys.

use serde_json::Value;

use crate::etcd::layout;

/// A resource of the Kubernetes API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Lower-case plural, as in paths.
    pub plural: String,
    /// Kind, as in objects.
    pub kind: String,
    /// Whether its objects have namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// Creates a resource.
    pub fn new(group: &str, version: &str, plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            kind: kind.into(),
            namespaced,
        }
    }
    /// `v1` Secret.
    pub fn secrets() -> Self {
        Self::new("", "v1", "secrets", "Secret", true)
    }
    /// `v1` ConfigMap.
    pub fn config_maps() -> Self {
        Self::new("", "v1", "configmaps", "ConfigMap", true)
    }
    /// `v1` Namespace.
    pub fn namespaces() -> Self {
        Self::new("", "v1", "namespaces", "Namespace", false)
    }
    /// `apiextensions.k8s.io/v1` CustomResourceDefinition.
    pub fn crds() -> Self {
        Self::new(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            false,
        )
    }

    /// `v1`, or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The name in an EncryptionConfiguration: `secrets`, `widgets.example.com`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Path of the collection: `/api/v1/namespaces/default/secrets`.
    pub fn collection_path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace {
            Some(namespace) if self.namespaced => {
                format!("{root}/namespaces/{namespace}/{}", self.plural)
            }
            _ => format!("{root}/{}", self.plural),
        }
    }

    /// Prefix of the objects' etcd keys under the default prefix, with trailing slash.
    pub fn etcd_prefix(&self) -> String {
        format!(
            "{}/{}/",
            layout::DEFAULT_PREFIX,
            layout::resource_path(&self.group, &self.plural)
        )
    }
}

/// Reference to an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// Creates a reference.
    pub fn new(resource: Resource, namespace: Option<&str>, name: &str) -> Self {
        Self {
            resource,
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    /// The reference of `object`, given its resource.
    pub fn from_object(resource: &Resource, object: &Value) -> Option<Self> {
        let metadata = object.get("metadata")?;
        Some(Self {
            resource: resource.clone(),
            namespace: metadata
                .get("namespace")
                .and_then(Value::as_str)
                .map(Into::into),
            name: metadata.get("name")?.as_str()?.into(),
        })
    }

    /// Path of the object in the API.
    pub fn path(&self) -> String {
        format!(
            "{}/{}",
            self.resource.collection_path(self.namespace.as_deref()),
            self.name
        )
    }

    /// Its key in etcd, which is also the AAD of its value.
    pub fn etcd_key(&self) -> String {
        let prefix = self.resource.etcd_prefix();
        match &self.namespace {
            Some(namespace) => format!("{prefix}{namespace}/{}", self.name),
            None => format!("{prefix}{}", self.name),
        }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(
                f,
                "{} {namespace}/{}",
                self.resource.group_resource(),
                self.name
            ),
            None => write!(f, "{} {}", self.resource.group_resource(), self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_keys_match_upstream() {
        let secret = ObjectRef::new(Resource::secrets(), Some("default"), "s1");
        assert_eq!(secret.etcd_key(), "/registry/secrets/default/s1");
        let crd = ObjectRef::new(Resource::crds(), None, "widgets.example.com");
        assert_eq!(
            crd.etcd_key(),
            "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com"
        );
        let custom = Resource::new("example.com", "v1", "widgets", "Widget", true);
        assert_eq!(custom.etcd_prefix(), "/registry/example.com/widgets/");
        let deployments = Resource::new("apps", "v1", "deployments", "Deployment", true);
        assert_eq!(deployments.etcd_prefix(), "/registry/deployments/");
    }
}
