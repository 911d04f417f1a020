//! Which resource a key belongs to, and under which keys a resource is, as the API server's storage
//! factory decides it.
//!
//! Resources of built-in groups stand under their name alone, but for those of
//! `apiextensions.k8s.io` and `apiregistration.k8s.io`, which other servers keep; custom resources
//! stand under group and name. Sources: `pkg/kubeapiserver/default_storage_factory_builder.go` and
//! `test/integration/etcd/data.go` of Kubernetes 1.34, `getRESTOptions` of apiextensions-apiserver.

/// The default of kube-apiserver's `--etcd-prefix`.
pub const PREFIX: &str = "/registry";

/// Groups whose resources the kube-apiserver itself keeps.
const BUILT_IN: [&str; 23] = [
    "",
    "admissionregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "imagepolicy.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Built-in resources under another name than their own: `(group, resource, path)`.
const RENAMED: [(&str, &str, &str); 6] = [
    ("", "replicationcontrollers", "controllers"),
    ("", "endpoints", "services/endpoints"),
    ("", "services", "services/specs"),
    ("", "nodes", "minions"),
    ("extensions", "ingresses", "ingress"),
    ("networking.k8s.io", "ingresses", "ingress"),
];

/// Where a resource's objects are under the API server's prefix: `secrets`, `services/specs`,
/// `example.com/widgets`.
pub fn path_of(group: &str, resource: &str) -> String {
    if let Some((.., path)) = RENAMED
        .iter()
        .find(|(of, name, _)| (*of, *name) == (group, resource))
    {
        return (*path).to_owned();
    }
    if BUILT_IN.contains(&group) {
        resource.to_owned()
    } else {
        format!("{group}/{resource}")
    }
}

/// The part of a key that names its resource, prefix included: `/registry/secrets`,
/// `/registry/example.com/widgets`.
///
/// `prefix` is the API server's `--etcd-prefix`. Without one it is `/registry`,
/// `/ANYTHING/registry`, or else the key's first part, as OpenShift's `/kubernetes.io`.
pub fn resource_of<'a>(key: &'a str, prefix: Option<&str>) -> &'a str {
    let given = prefix
        .map(|prefix| prefix.trim_end_matches('/'))
        .filter(|prefix| is_under(key, prefix));
    let length = given.map_or_else(|| guessed_prefix(key), str::len);
    let rest = &key[length..];
    let mut ends = rest.match_indices('/').skip(1).map(|(at, _)| at);
    let first = ends.next().unwrap_or(rest.len());
    // Groups of custom resources have a dot, no built-in resource has one. Services keep their two
    // kinds one level down.
    let name = rest[..first].trim_start_matches('/');
    let end = if name.contains('.') || name == "services" {
        ends.next().unwrap_or(rest.len())
    } else {
        first
    };
    &key[..length + end]
}

fn is_under(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The length of what is taken for the API server's prefix.
fn guessed_prefix(key: &str) -> usize {
    if is_under(key, PREFIX) {
        return PREFIX.len();
    }
    let first = key
        .get(1..)
        .and_then(|rest| rest.find('/'))
        .map_or(0, |at| at + 1);
    if is_under(&key[first..], PREFIX) {
        first + PREFIX.len()
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_where_the_storage_factory_puts_it() {
        for (group, resource, path) in [
            ("", "secrets", "secrets"),
            ("", "nodes", "minions"),
            ("", "services", "services/specs"),
            ("", "endpoints", "services/endpoints"),
            ("networking.k8s.io", "ingresses", "ingress"),
            ("networking.k8s.io", "networkpolicies", "networkpolicies"),
            ("apps", "deployments", "deployments"),
            ("rbac.authorization.k8s.io", "clusterroles", "clusterroles"),
            (
                "apiregistration.k8s.io",
                "apiservices",
                "apiregistration.k8s.io/apiservices",
            ),
            ("example.com", "widgets", "example.com/widgets"),
            // Custom resources of the Kubernetes project's own domain.
            (
                "gateway.networking.k8s.io",
                "gateways",
                "gateway.networking.k8s.io/gateways",
            ),
            (
                "snapshot.storage.k8s.io",
                "volumesnapshots",
                "snapshot.storage.k8s.io/volumesnapshots",
            ),
            ("metrics.k8s.io", "nodes", "metrics.k8s.io/nodes"),
        ] {
            assert_eq!(path_of(group, resource), path);
        }
    }

    #[test]
    fn a_key_belongs_to_one_resource_whatever_its_namespace_and_name() {
        for (key, resource) in [
            ("/registry/secrets/default/s1", "/registry/secrets"),
            ("/registry/secrets/registry/s1", "/registry/secrets"),
            ("/registry/secrets/default/a.b.c", "/registry/secrets"),
            (
                "/registry/clusterroles/system:node",
                "/registry/clusterroles",
            ),
            (
                "/registry/services/specs/default/kubernetes",
                "/registry/services/specs",
            ),
            (
                "/registry/services/endpoints/default/kubernetes",
                "/registry/services/endpoints",
            ),
            (
                "/registry/example.com/widgets/default/w",
                "/registry/example.com/widgets",
            ),
            (
                "/registry/snapshot.storage.k8s.io/volumesnapshots/ns/v",
                "/registry/snapshot.storage.k8s.io/volumesnapshots",
            ),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.apps",
                "/registry/apiregistration.k8s.io/apiservices",
            ),
            // OpenShift's prefix has a dot, and a namespace may have any name.
            (
                "/kubernetes.io/secrets/registry/s1",
                "/kubernetes.io/secrets",
            ),
            ("/openshift.io/oauth/accesstokens/x", "/openshift.io/oauth"),
            (
                "/43da1478/registry/secrets/default/s1",
                "/43da1478/registry/secrets",
            ),
            ("/registry/secrets", "/registry/secrets"),
            ("/registry", "/registry"),
            ("/", "/"),
            ("", ""),
            ("-", "-"),
            ("héé/é", "héé/é"),
        ] {
            assert_eq!(resource_of(key, None), resource, "{key}");
        }
        let nested = "/clusters/one/secrets/default/s1";
        assert_eq!(
            resource_of(nested, Some("/clusters/one")),
            "/clusters/one/secrets"
        );
        assert_eq!(
            resource_of(nested, Some("/clusters/one/")),
            "/clusters/one/secrets"
        );
        assert_eq!(
            resource_of(nested, Some("/clusters/on")),
            "/clusters/one",
            "another prefix is not its own"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_key_has_a_resource_that_begins_it(key: String, prefix: Option<String>) {
            proptest::prop_assert!(key.starts_with(resource_of(&key, prefix.as_deref())));
        }
    }
}
