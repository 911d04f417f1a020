//! Variables of Azure's CLI and SDKs.

use super::Variables;
use crate::well_known::{AZURE_CLIENT_ID, AZURE_CLIENT_SECRET};

/// Login host of another Azure cloud; other ways to log in, which `EnvironmentCredential` of the
/// SDKs prefers to a secret or mixes with it; the identities of other machines, which
/// `ManagedIdentityCredential` asks instead of the metadata server (azure-identity).
const UNSET: &[&str] = &[
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_USERNAME",
    "AZURE_PASSWORD",
    "AZURE_TOKEN_CREDENTIALS",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "MSI_ENDPOINT",
    "MSI_SECRET",
];

/// Login as the well-known application. The emulator is reached through its proxy.
pub fn azure_login(tenant: &str) -> Variables {
    Variables::default()
        .unset(UNSET)
        .set("AZURE_TENANT_ID", tenant)
        .set("AZURE_CLIENT_ID", AZURE_CLIENT_ID)
        .set("AZURE_CLIENT_SECRET", AZURE_CLIENT_SECRET)
}
