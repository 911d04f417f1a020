//! Applies the `gcp` part of a seed file: who may do what, and then what there is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kmslab_googleapis::google::iam::v1::Binding;
use kmslab_googleapis::google::r#type::Expr;

use super::{GcpSeed, SeedPolicyBinding, SeedServiceAccount};
use crate::gcp::Gcp;
use crate::gcp::identity::{Account, KeyFile, PublicKey};
use crate::gcp::names::KeyName;
use crate::oauth::PublicRsaKey;
use crate::seed::error::SeedError;

impl GcpSeed {
    /// Creates what this part of the file has.
    pub(crate) fn apply(&self, gcp: &Gcp) -> Result<(), SeedError> {
        for (index, account) in self.service_accounts.iter().enumerate() {
            let path = format!("gcp.serviceAccounts[{index}]");
            if !gcp.identity.accounts.put(account.made(&path)?) {
                let reason = format!("there is another {}", account.email);
                return Err(SeedError::invalid(&format!("{path}.email"), reason));
            }
        }
        for (index, policy) in self.policies.iter().enumerate() {
            let bindings = policy.bindings.iter().map(Into::into).collect();
            let put = gcp
                .policies
                .put(&policy.resource, policy.revision, bindings);
            put.map_err(|error| {
                SeedError::invalid(&format!("gcp.policies[{index}]"), error.message)
            })?;
        }
        for (index, binding) in self.bindings.iter().enumerate() {
            for member in &binding.members {
                let added = gcp.policies.add(&binding.resource, &binding.role, member);
                added.map_err(|error| {
                    SeedError::invalid(&format!("gcp.bindings[{index}]"), error.message)
                })?;
            }
        }
        for (index, ring) in self.key_rings.iter().enumerate() {
            ring.apply(gcp, &format!("gcp.keyRings[{index}]"))?;
        }
        for (index, retired) in self.retired_keys.iter().enumerate() {
            let name = KeyName::parse(&retired.key).ok_or_else(|| {
                let path = format!("gcp.retiredKeys[{index}].key");
                SeedError::invalid(&path, format!("{} is not a key's name", retired.key))
            })?;
            gcp.retired
                .put(name, retired.id.clone(), retired.delete_time);
        }
        if let Some(email) = &self.metadata_account {
            if gcp.identity.accounts.get(email).is_none() {
                let reason = format!("there is no service account {email}");
                return Err(SeedError::invalid("gcp.metadataAccount", reason));
            }
            gcp.identity.set_default(email);
        }
        Ok(())
    }
}

impl SeedServiceAccount {
    fn made(&self, path: &str) -> Result<Account, SeedError> {
        if !self.email.contains('@') {
            let reason = format!("{} is not an email address", self.email);
            return Err(SeedError::invalid(&format!("{path}.email"), reason));
        }
        let file = self.key_file.as_ref().map(|text| {
            KeyFile::parse(text.as_bytes()).map_err(|why| {
                SeedError::invalid(&format!("{path}.keyFile"), format!("cannot be used: {why}"))
            })
        });
        let mut keys: Vec<PublicKey> = file.transpose()?.iter().map(Into::into).collect();
        for (index, key) in self.public_keys.iter().enumerate() {
            let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
            let public = decoded(&key.n)
                .zip(decoded(&key.e))
                .and_then(|(n, e)| PublicRsaKey::from_parts(&n, &e));
            let public = public.ok_or_else(|| {
                let reason = "n and e are not an RSA key in base64url without padding".to_owned();
                SeedError::invalid(&format!("{path}.publicKeys[{index}]"), reason)
            })?;
            keys.push(PublicKey {
                id: key.id.clone(),
                public,
            });
        }
        Ok(Account {
            email: self.email.clone(),
            display_name: self.display_name.clone().unwrap_or_default(),
            keys,
        })
    }
}

impl From<&SeedPolicyBinding> for Binding {
    fn from(binding: &SeedPolicyBinding) -> Self {
        Self {
            role: binding.role.clone(),
            members: binding.members.clone(),
            condition: binding.condition.as_ref().map(|condition| Expr {
                expression: condition.expression.clone(),
                title: condition.title.clone(),
                description: condition.description.clone(),
                location: condition.location.clone(),
            }),
        }
    }
}
