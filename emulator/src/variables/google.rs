//! Variables of Google's CLI and SDKs.

use std::path::Path;

use super::Variables;

/// Another universe than googleapis.com: the clients reject credentials of a different universe.
const UNSET: &[&str] = &["GOOGLE_CLOUD_UNIVERSE_DOMAIN"];

/// Login of SDKs as the owner: by a key file, without which a login by `gcloud auth
/// application-default login` would precede the metadata server and be sent to Google.
pub fn google_login(http: &str, key_file: Option<&Path>) -> Variables {
    let mut variables = Variables::default().unset(UNSET);
    if let Some(file) = key_file {
        variables = variables.set("GOOGLE_APPLICATION_CREDENTIALS", file.display());
    }
    // A host without a scheme. The second is what Python clients ask first.
    let host = http.trim_start_matches("http://");
    variables.set_all(&["GCE_METADATA_HOST", "GCE_METADATA_IP"], host)
}

/// Endpoints and login of gcloud (google-cloud-sdk, lib/googlecloudsdk/core/properties.py;
/// core/credentials/store.py takes a key file's own token endpoint).
pub(super) fn gcloud(http: &str, key_file: Option<&Path>) -> Variables {
    let mut variables = Variables::default()
        .unset(&[
            "CLOUDSDK_ACTIVE_CONFIG_NAME",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
            "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
            "CLOUDSDK_AUTH_TOKEN_HOST",
            "CLOUDSDK_CORE_UNIVERSE_DOMAIN",
        ])
        .and(gcloud_endpoints(http));
    if let Some(file) = key_file {
        variables = variables.set("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", file.display());
    }
    variables
}

/// Endpoints of gcloud.
pub fn gcloud_endpoints(http: &str) -> Variables {
    let names = [
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM",
    ];
    Variables::default().set_all(&names, format_args!("{http}/"))
}
