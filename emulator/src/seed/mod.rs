//! The seed file: what an emulator has from the start. One schema for the three clouds, YAML or
//! JSON. An export of a running emulator is such a file.

pub(crate) mod error;
pub(crate) mod material;
pub(crate) mod text_or;
pub(crate) mod value;

use std::path::Path;

use kmslab_keycore::KeyError;
use kmslab_program::file;
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedFile {
    /// Access keys of AWS, in addition to the well-known one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<SeedCredential>,
    /// Keys of AWS KMS, which are created in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SeedKey>,
    /// Applications and vaults of Azure.
    #[serde(default)]
    pub azure: AzureSeed,
    /// Service accounts and bindings of Google.
    #[serde(default)]
    pub gcp: GcpSeed,
}

impl SeedFile {
    /// Reads a seed file and the files of key material that it names.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let unreadable = |source| SeedError::Read {
            path: path.to_owned(),
            source,
        };
        let text = file::read_text(path, file::MAX_CONFIGURATION_BYTES).map_err(unreadable)?;
        // Without the parser's excerpt of the file, which may contain a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let parsed = serde_saphyr::from_str_with_options::<Self>(&text, options);
        let mut seed = parsed.map_err(|error| SeedError::Parse {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let directory = path.parent().unwrap_or(Path::new("."));
        for material in seed.materials() {
            let read = material.read_file(directory);
            read.map_err(|reason| SeedError::Parse {
                path: path.to_owned(),
                reason: format!("a material {reason}"),
            })?;
        }
        Ok(seed)
    }

    /// Everything that an emulator has, as a seed file. Without `with_material`, key material and
    /// what callers log in with are left out.
    pub(crate) fn export(
        aws: &AwsService,
        azure: &Azure,
        gcp: &Gcp,
        with_material: bool,
    ) -> Result<Self, KeyError> {
        Ok(Self {
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
