//! IAM policies on projects, key rings, keys and import jobs; they are inherited by what is below.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use kmslab_googleapis::google::iam::v1::{
    Binding, GetIamPolicyRequest, Policy, SetIamPolicyRequest, TestIamPermissionsRequest,
    TestIamPermissionsResponse,
};
use tonic::Code;

use super::auth::Caller;
use super::identity::OWNER;
use super::names::{ImportJobName, KeyName, RingName};
use super::{Gcp, GcpError, roles};

/// Policies and their revisions, by the full name of the resource.
#[derive(Debug, Default)]
pub(crate) struct Policies(RwLock<BTreeMap<String, (u64, Vec<Binding>)>>);

/// The parent of all projects. It is empty, so that no resource has this name.
const ROOT_RESOURCE: &str = "";
const OWNER_ROLE: &str = "roles/owner";
/// Etag of a policy that was never set.
const DEFAULT_ETAG: &[u8] = b"\0\x20\x01";
/// Types of members, before the colon.
const MEMBER_TYPES: &[&str] = &[
    "user",
    "serviceAccount",
    "group",
    "domain",
    "principal",
    "principalSet",
    "deleted",
];
/// Members without an identifier.
const PUBLIC_MEMBERS: &[&str] = &["allUsers", "allAuthenticatedUsers"];

impl Policies {
    /// Restores the initial state: the well-known account owns the root and so everything.
    pub(crate) fn reset(&self) {
        let owner = Binding {
            role: OWNER_ROLE.into(),
            members: vec![format!("serviceAccount:{OWNER}")],
            condition: None,
        };
        let all = BTreeMap::from([(ROOT_RESOURCE.to_owned(), (1, vec![owner]))]);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub(crate) fn clear(&self) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn get(&self, resource: &str) -> Policy {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (times, bindings) = all.get(resource).cloned().unwrap_or_default();
        Policy {
            version: version(&bindings),
            etag: etag(times),
            bindings,
            ..Policy::default()
        }
    }

    fn set(&self, resource: &str, policy: Policy) -> Result<Policy, GcpError> {
        policy.bindings.iter().try_for_each(validate)?;
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (times, bindings) = all.entry(resource.to_owned()).or_default();
        if !policy.etag.is_empty() && policy.etag != etag(*times) {
            return Err(GcpError::new(
                Code::Aborted,
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
            ));
        }
        *times += 1;
        *bindings = policy.bindings;
        bindings.retain(|binding| !binding.members.is_empty());
        Ok(Policy {
            version: version(bindings),
            etag: etag(*times),
            bindings: bindings.clone(),
            ..Policy::default()
        })
    }

    /// All policies with their revisions, by the name of the resource.
    pub(crate) fn all(&self) -> BTreeMap<String, (u64, Vec<Binding>)> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces a policy and its revision, for seeds.
    pub(crate) fn put(
        &self,
        resource: &str,
        revision: u64,
        bindings: Vec<Binding>,
    ) -> Result<(), GcpError> {
        bindings.iter().try_for_each(validate)?;
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(resource.to_owned(), (revision, bindings));
        Ok(())
    }

    /// Adds a binding, for seeds.
    pub(crate) fn add(&self, resource: &str, role: &str, member: &str) -> Result<(), GcpError> {
        let mut policy = self.get(resource);
        policy.bindings.push(Binding {
            role: role.to_owned(),
            members: vec![member.to_owned()],
            condition: None,
        });
        self.set(resource, policy).map(|_| ())
    }

    /// Reports whether a caller has a permission on a resource, by its policy or that of an
    /// ancestor.
    fn allow(&self, caller: &Caller, permission: &str, resource: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let grants = |binding: &Binding| {
            // Conditions are not evaluated, so a conditional binding grants nothing.
            binding.condition.is_none()
                && binding
                    .members
                    .iter()
                    .any(|member| caller.matches_member(member))
                && roles::allows(&binding.role, permission)
        };
        with_ancestors(resource).any(|name| {
            all.get(name)
                .is_some_and(|(_, bindings)| bindings.iter().any(grants))
        })
    }
}

fn etag(times: u64) -> Vec<u8> {
    if times == 0 {
        DEFAULT_ETAG.to_vec()
    } else {
        [b"\x07", times.to_be_bytes().as_slice()].concat()
    }
}

fn version(bindings: &[Binding]) -> i32 {
    if bindings.iter().any(|binding| binding.condition.is_some()) {
        3
    } else {
        1
    }
}

fn validate(binding: &Binding) -> Result<(), GcpError> {
    if !roles::is_role(&binding.role) {
        return Err(GcpError::invalid(format!(
            "Role {} is not supported for this resource.",
            binding.role
        )));
    }
    let known = |member: &str| {
        let address = member
            .split_once(':')
            .is_some_and(|(kind, rest)| MEMBER_TYPES.contains(&kind) && !rest.is_empty());
        address || PUBLIC_MEMBERS.contains(&member)
    };
    match binding.members.iter().find(|member| !known(member)) {
        Some(member) => Err(GcpError::invalid(format!("Invalid member: {member}"))),
        None => Ok(()),
    }
}

/// A resource name and those of its ancestors: every second segment ends one, and the root comes
/// last.
fn with_ancestors(resource: &str) -> impl Iterator<Item = &str> {
    let ends = resource
        .match_indices('/')
        .map(|(at, _)| at)
        .skip(1)
        .step_by(2)
        .chain([resource.len()]);
    ends.map(|end| &resource[..end]).chain([ROOT_RESOURCE])
}

/// The resource's part of permission names.
fn permission_prefix(resource: &str) -> Option<&'static str> {
    if KeyName::parse(resource).is_some() {
        Some("cryptoKeys")
    } else if ImportJobName::parse(resource).is_some() {
        Some("importJobs")
    } else if RingName::parse(resource).is_some() {
        Some("keyRings")
    } else {
        None
    }
}

impl Gcp {
    /// Fails if the caller does not have the permission.
    pub(crate) fn allow(
        &self,
        caller: &Caller,
        permission: &str,
        resource: &str,
    ) -> Result<(), GcpError> {
        let allowed = self.auth.is_off() || self.policies.allow(caller, permission, resource);
        let granted = allowed && !caller.is_revoked();
        caller.note_check(permission, resource, granted);
        if granted {
            return Ok(());
        }
        Err(GcpError::denied(permission, resource))
    }

    /// Resolves the resource of an IAM call, which must exist.
    fn resource(
        &self,
        caller: &Caller,
        name: &str,
        permission: Option<&str>,
    ) -> Result<(), GcpError> {
        let kind = permission_prefix(name)
            .ok_or_else(|| GcpError::bad_name(name, "KeyRing, CryptoKey or ImportJob"))?;
        if let Some(permission) = permission {
            self.allow(caller, &format!("cloudkms.{kind}.{permission}"), name)?;
        }
        match (
            KeyName::parse(name),
            ImportJobName::parse(name),
            RingName::parse(name),
        ) {
            (Some(key), ..) => self.key(&key).map(|_| ()),
            (_, Some(job), _) => self.job(&job).map(|_| ()),
            (.., Some(ring)) => self.ring(&ring).map(|_| ()),
            _ => Ok(()),
        }
    }
}

pub(crate) fn get(
    gcp: &Gcp,
    caller: &Caller,
    request: GetIamPolicyRequest,
) -> Result<Policy, GcpError> {
    gcp.resource(caller, &request.resource, Some("getIamPolicy"))?;
    Ok(gcp.policies.get(&request.resource))
}

pub(crate) fn set(
    gcp: &Gcp,
    caller: &Caller,
    request: SetIamPolicyRequest,
) -> Result<Policy, GcpError> {
    gcp.resource(caller, &request.resource, Some("setIamPolicy"))?;
    let policy = request
        .policy
        .ok_or_else(|| GcpError::bad_field("policy", "The policy is required."))?;
    gcp.policies.set(&request.resource, policy)
}

pub(crate) fn test(
    gcp: &Gcp,
    caller: &Caller,
    request: TestIamPermissionsRequest,
) -> Result<TestIamPermissionsResponse, GcpError> {
    if let Some(wild) = request
        .permissions
        .iter()
        .find(|permission| permission.contains('*'))
    {
        return Err(GcpError::invalid(format!(
            "Permission {wild} is not valid: wildcards are not allowed."
        )));
    }
    gcp.resource(caller, &request.resource, None)?;
    let mut permissions = request.permissions;
    permissions.retain(|permission| gcp.allow(caller, permission, &request.resource).is_ok());
    Ok(TestIamPermissionsResponse { permissions })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

    #[test]
    fn policies_apply_to_descendants() {
        let policies = Policies::default();
        let caller = Caller::service_account("a@p.iam.gserviceaccount.com");
        let use_it = |resource: &str| {
            policies.allow(&caller, "cloudkms.cryptoKeyVersions.useToEncrypt", resource)
        };
        let version = format!("{KEY}/cryptoKeyVersions/1");
        assert!(!use_it(KEY));
        let (role, member) = (
            "roles/cloudkms.cryptoKeyEncrypter",
            "serviceAccount:a@p.iam.gserviceaccount.com",
        );
        policies
            .add("projects/p/locations/l/keyRings/r", role, member)
            .unwrap();
        assert!(
            use_it(KEY)
                && use_it(&version)
                && !use_it("projects/p/locations/l/keyRings/rr/cryptoKeys/k")
        );
        policies.reset();
        policies.add("projects/p", role, member).unwrap();
        assert!(use_it(KEY) && !use_it("projects/q/locations/l/keyRings/r/cryptoKeys/k"));
    }

    #[test]
    fn set_policy_with_a_stale_etag_is_rejected() {
        let policies = Policies::default();
        let read = policies.get(KEY);
        policies
            .add(KEY, "roles/cloudkms.viewer", "user:a@example.com")
            .unwrap();
        assert_eq!(policies.set(KEY, read).unwrap_err().code, Code::Aborted);
        // Without an etag it is set unconditionally.
        assert!(
            policies
                .set(KEY, Policy::default())
                .unwrap()
                .bindings
                .is_empty()
        );
        for (role, member) in [
            ("roles/none", "user:a@example.com"),
            ("roles/viewer", "a@example.com"),
            ("roles/viewer", "user:"),
        ] {
            assert_eq!(
                policies.add(KEY, role, member).unwrap_err().code,
                Code::InvalidArgument
            );
        }
    }
}
