//! Maps etcd keys to resources and resources to keys, as the API server's storage factory does.
//!
//! Resources of built-in groups are stored under their name only, except for those of
//! `apiextensions.k8s.io` and `apiregistration.k8s.io`, which other servers store; custom resources
//! are stored under group and name. Sources: `pkg/kubeapiserver/default_storage_factory_builder.go`
//! and `test/integration/etcd/data.go` of Kubernetes 1.34, `getRESTOptions` of
//! apiextensions-apiserver.

/// Default of kube-apiserver's `--etcd-prefix`.
pub const DEFAULT_PREFIX: &str = "/registry";

/// API groups whose resources kube-apiserver itself serves.
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

/// Built-in resources stored under another name: `(group, resource, path)`.
const RENAMED_RESOURCES: [(&str, &str, &str); 6] = [
    ("", "replicationcontrollers", "controllers"),
    ("", "endpoints", "services/endpoints"),
    ("", "services", "services/specs"),
    ("", "nodes", "minions"),
    ("extensions", "ingresses", "ingress"),
    ("networking.k8s.io", "ingresses", "ingress"),
];

/// Path of a resource's objects below the API server's prefix: `secrets`, `services/specs`,
/// `example.com/widgets`.
pub fn resource_path(group: &str, resource: &str) -> String {
    if let Some((.., path)) = RENAMED_RESOURCES
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

/// The part of a key that names its resource, including the prefix: `/registry/secrets`,
/// `/registry/example.com/widgets`.
///
/// `prefix` is the API server's `--etcd-prefix`. By default it is inferred: `/registry`,
/// `/ANYTHING/registry`, or else the first part of the key, such as OpenShift's `/kubernetes.io`.
pub fn resource_prefix<'a>(key: &'a str, prefix: Option<&str>) -> &'a str {
    let given = prefix
        .map(|prefix| prefix.trim_end_matches('/'))
        .filter(|prefix| is_under(key, prefix));
    let length = given.map_or_else(|| guess_prefix_len(key), str::len);
    let rest = &key[length..];
    let mut ends = rest.match_indices('/').skip(1).map(|(at, _)| at);
    let first = ends.next().unwrap_or(rest.len());
    // Groups of custom resources contain a dot, built-in resources do not. Services store their two
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

/// Length of the assumed API server prefix.
fn guess_prefix_len(key: &str) -> usize {
    if is_under(key, DEFAULT_PREFIX) {
        return DEFAULT_PREFIX.len();
    }
    let first = key
        .get(1..)
        .and_then(|rest| rest.find('/'))
        .map_or(0, |at| at + 1);
    if is_under(&key[first..], DEFAULT_PREFIX) {
        first + DEFAULT_PREFIX.len()
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_paths_match_the_storage_factory() {
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
            // Custom resources in the Kubernetes project's own domain.
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
            assert_eq!(resource_path(group, resource), path);
        }
    }

    #[test]
    fn etcd_key_belongs_to_one_resource() {
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
            // OpenShift's prefix contains a dot, and a namespace may have any name.
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
            assert_eq!(resource_prefix(key, None), resource, "{key}");
        }
        let nested = "/clusters/one/secrets/default/s1";
        assert_eq!(
            resource_prefix(nested, Some("/clusters/one")),
            "/clusters/one/secrets"
        );
        assert_eq!(
            resource_prefix(nested, Some("/clusters/one/")),
            "/clusters/one/secrets"
        );
        assert_eq!(
            resource_prefix(nested, Some("/clusters/on")),
            "/clusters/one",
            "another prefix is not its own"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_key_starts_with_its_resource_prefix(key: String, prefix: Option<String>) {
            proptest::prop_assert!(key.starts_with(resource_prefix(&key, prefix.as_deref())));
        }
    }
}
