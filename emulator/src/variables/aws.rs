//! Variables of the AWS CLI and SDKs.

use super::Variables;
use crate::well_known::AWS_ACCESS_KEY;

/// Another login: session token (the second is its older name) and profiles (botocore,
/// aws-config).
const UNSET_LOGIN: &[&str] = &[
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
];
/// What makes SDKs ignore the endpoint, or reject every request: "FIPS and custom endpoint are not
/// supported" (rules of KMS' endpoints in botocore). AWS SDKs and Tools Reference Guide,
/// "Service-specific endpoints".
const UNSET_ENDPOINT: &[&str] = &[
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
];

/// Variables of the AWS CLI and SDKs.
#[derive(Debug, Clone, Copy)]
pub struct AwsVariables<'a> {
    /// URL of the emulator.
    pub endpoint: &'a str,
    /// Region of the keys.
    pub region: &'a str,
    /// Whether to log in as the well-known caller, or to keep the shell's login.
    pub log_in: bool,
}

impl AwsVariables<'_> {
    /// The changes of the environment.
    pub fn variables(self) -> Variables {
        let mut variables = Variables::default();
        if self.log_in {
            variables = variables.unset(UNSET_LOGIN);
        }
        variables = variables
            .unset(UNSET_ENDPOINT)
            .set("AWS_ENDPOINT_URL_KMS", self.endpoint)
            // The SDKs read the first, the AWS CLI the second.
            .set_all(&["AWS_REGION", "AWS_DEFAULT_REGION"], self.region);
        if self.log_in {
            let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
            variables = variables.set_all(&names, AWS_ACCESS_KEY);
        }
        variables
    }
}
