//! Variables that must be unset because the vendors' tools prefer them to those that kmslab prints.

/// Session token (the second is its older name) and profiles of another login (botocore, aws-config), and the switch that makes
/// SDKs ignore `AWS_ENDPOINT_URL_KMS` (AWS SDKs and Tools Reference Guide, "Service-specific
/// endpoints").
pub const UNSET_AWS: &str = "unset AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

/// Login host of another Azure cloud.
pub const UNSET_AZURE: &str = "unset AZURE_AUTHORITY_HOST";

/// Another universe than googleapis.com; the clients reject credentials of a different universe.
pub const UNSET_GOOGLE: &str = "unset GOOGLE_CLOUD_UNIVERSE_DOMAIN";
