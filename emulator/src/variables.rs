//! What a shell must not hold for the vendors' tools to use the emulator: these win over the
//! variables that kmslab prints.

/// A session token or a profile of another login (botocore, aws-config), and the switch that makes
/// SDKs ignore `AWS_ENDPOINT_URL_KMS` (AWS SDKs and Tools Reference Guide, "Service-specific
/// endpoints").
pub const UNSET_AWS: &str =
    "unset AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

/// The login host of another of Azure's clouds.
pub const UNSET_AZURE: &str = "unset AZURE_AUTHORITY_HOST";

/// Another universe than googleapis.com; the clients refuse credentials that do not belong to it.
pub const UNSET_GOOGLE: &str = "unset GOOGLE_CLOUD_UNIVERSE_DOMAIN";
