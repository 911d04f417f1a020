//! Credentials and names that every emulator accepts. None of them is a secret.

/// Access key id, and its secret access key as well.
pub const AWS_ACCESS_KEY: &str = "test";
/// Account of that access key.
pub const AWS_ACCOUNT: &str = "123456789012";
/// Region of requests without a signature.
pub const AWS_REGION: &str = "us-east-1";

/// Tenant id, and the id of the only subscription.
pub const AZURE_TENANT: &str = "0f7c5d0a-6a1b-4c6e-9d55-6b6d736c6162";
/// Client id of an application that may do everything.
pub const AZURE_CLIENT_ID: &str = "a1b2c3d4-0000-4000-8000-6b6d736c6162";
/// Object id of that application's service principal.
pub const AZURE_OBJECT_ID: &str = "e5f6a7b8-0000-4000-8000-6b6d736c6162";
/// Client secret of that application.
pub const AZURE_CLIENT_SECRET: &str = "test";
/// Name of a vault that exists from the start: `https://kmslab.vault.azure.net`.
pub const AZURE_VAULT: &str = "kmslab";

/// The `token_uri` of Google's key files.
pub const GCP_TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
