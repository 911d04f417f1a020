//! The seed file: what an emulator has from the start. One schema for the three clouds, YAML or
//! JSON. An export of a running emulator is such a file.

pub(crate) mod error;
mod file;
pub(crate) mod material;
mod position;
mod schema;
pub(crate) mod text_or;
pub(crate) mod version_id;

use kmslab_keycore::KeyError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aws::Aws;
pub use crate::aws::seed::{
    SeedAlias, SeedCredential, SeedKey, SeedKeyState, SeedKeyVersion, SeedRotationType,
};
use crate::aws::seed::{apply, export};
use crate::aws::service::AwsService;
use crate::azure::Azure;
pub use crate::azure::seed::{
    AzureSeed, SeedApplication, SeedFederated, SeedIssuer, SeedLifetimeAction, SeedPolicy,
    SeedResourceGroup, SeedRole, SeedRoleAssignment, SeedRotationPolicy, SeedVault, SeedVaultKey,
    SeedVaultKeyVersion,
};
use crate::gcp::Gcp;
pub use crate::gcp::seed::{
    GcpSeed, SeedBinding, SeedCondition, SeedCryptoKey, SeedCryptoKeyVersion, SeedImportJob,
    SeedKeyRing, SeedPolicyBinding, SeedPublicKey, SeedResourcePolicy, SeedRetiredKey,
    SeedServiceAccount,
};
pub use error::SeedError;
pub use material::SeedMaterial;

/// The content of a seed file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SeedFile {
    /// Whether the emulator also has what it has without a seed: the access key `test`, an
    /// application with its vault and managed HSM, a service account with all permissions.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub well_known: bool,
    /// Access keys of AWS, in addition to the well-known one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<SeedCredential>,
    /// Keys of AWS KMS, which are created in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SeedKey>,
    /// Applications and vaults of Azure.
    pub azure: AzureSeed,
    /// Service accounts and bindings of Google.
    pub gcp: GcpSeed,
}

impl Default for SeedFile {
    /// A seed file that adds nothing.
    fn default() -> Self {
        Self {
            well_known: true,
            credentials: Vec::new(),
            keys: Vec::new(),
            azure: AzureSeed::default(),
            gcp: GcpSeed::default(),
        }
    }
}

impl SeedFile {
    /// Everything that an emulator has, as a seed file. Without `with_material`, key material and
    /// what callers log in with are left out.
    pub(crate) fn export(
        aws: &AwsService,
        azure: &Azure,
        gcp: &Gcp,
        with_material: bool,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            // Without their secrets, the well-known callers are the only ones that can log in.
            well_known: !with_material,
            credentials: match with_material {
                true => export::credentials(&aws.authenticator.credentials),
                false => Vec::new(),
            },
            keys: export::keys(&aws.aws, with_material)?,
            azure: AzureSeed::export(azure, with_material)?,
            gcp: GcpSeed::export(gcp, with_material)?,
        })
    }

    /// Creates what the seed file has.
    pub(crate) fn apply(&self, aws: &Aws, azure: &Azure, gcp: &Gcp) -> Result<(), SeedError> {
        if !self.well_known {
            azure.clear();
            gcp.clear();
        }
        self.gcp.apply(gcp)?;
        self.azure.apply(azure)?;
        apply::apply(&self.keys, aws)
    }

    fn materials(&mut self) -> impl Iterator<Item = &mut SeedMaterial> {
        let vaults = self.azure.vaults.iter_mut();
        let vault_keys = vaults.flat_map(|vault| &mut vault.keys);
        let keys = self.keys.iter_mut().flat_map(SeedKey::materials);
        let rings = self.gcp.key_rings.iter_mut();
        keys.chain(vault_keys.flat_map(SeedVaultKey::materials))
            .chain(rings.flat_map(SeedKeyRing::materials))
    }
}
