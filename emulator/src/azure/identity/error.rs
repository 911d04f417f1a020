//! Errors of the token endpoints: `error`, an AADSTS code and its message, as Entra documents them.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

/// An error response of a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginError {
    pub(crate) status: StatusCode,
    /// Error code of RFC 6749.
    pub(crate) error: &'static str,
    /// AADSTS code.
    pub(crate) number: u32,
    message: String,
}

impl LoginError {
    fn new(
        status: StatusCode,
        error: &'static str,
        number: u32,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error,
            number,
            message: message.into(),
        }
    }

    fn invalid_request(error: &'static str, number: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, number, message)
    }

    fn invalid_client(number: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", number, message)
    }

    pub(super) fn missing(parameter: &str) -> Self {
        let message =
            format!("The request body must contain the following parameter: '{parameter}'.");
        Self::invalid_request("invalid_request", 900_144, message)
    }

    pub(super) fn unsupported_grant(grant: &str) -> Self {
        let message = format!("The app requested an unsupported grant type '{grant}'.");
        Self::invalid_request("unsupported_grant_type", 70_003, message)
    }

    pub(super) fn no_tenant(tenant: &str) -> Self {
        let message = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. \
             Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."
        );
        Self::invalid_request("invalid_request", 90_002, message)
    }

    pub(super) fn no_application(client_id: &str, tenant: &str) -> Self {
        let message = format!(
            "Application with identifier '{client_id}' was not found in the directory '{tenant}'. This can happen if the application \
             has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent \
             your authentication request to the wrong tenant."
        );
        Self::invalid_request("unauthorized_client", 700_016, message)
    }

    pub(super) fn wrong_secret(client_id: &str) -> Self {
        let message = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client \
             secret ID, for a secret added to app '{client_id}'."
        );
        Self::invalid_client(7_000_215, message)
    }

    /// Recorded in dotnet/sign#849, and with its HTTP status in liprec/vsts-release-aas#119.
    pub(super) fn expired_secret(client_id: &str) -> Self {
        let message = format!(
            "The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create new keys for your app: \
             https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."
        );
        Self::invalid_client(7_000_222, message)
    }

    /// Recorded in Azure/azure-sdk-for-python#14241.
    pub(super) fn transient() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            90_033,
            "A transient error has occurred. Please try again.",
        )
    }

    /// Recorded in AzureAD/azure-activedirectory-library-for-python#18.
    pub(super) fn server_error() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            90_036,
            "Directory Proxy Client encountered an internal error.",
        )
    }

    pub(super) fn no_credential() -> Self {
        Self::invalid_client(
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )
    }

    pub(super) fn scope(scope: &str) -> Self {
        let message = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default \
             suffixed to the resource identifier (application ID URI)."
        );
        Self::invalid_request("invalid_scope", 1_002_012, message)
    }

    pub(super) fn no_resource(resource: &str, tenant: &str) -> Self {
        let message = format!(
            "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the application \
             has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent \
             your authentication request to the wrong tenant."
        );
        Self::invalid_request("invalid_resource", 500_011, message)
    }

    pub(super) fn malformed_assertion() -> Self {
        Self::invalid_client(50_027, "JWT token is invalid or malformed.")
    }

    pub(super) fn assertion_signature() -> Self {
        Self::invalid_client(
            700_027,
            "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was \
             found, but use of the key to verify the signature failed.]",
        )
    }

    pub(super) fn unknown_certificate() -> Self {
        Self::invalid_client(
            700_027,
            "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was \
             not found.]",
        )
    }

    pub(super) fn unknown_signing_key(kid: &str) -> Self {
        let message = format!(
            "Unable to match key with identifier '{kid}' to a signing key of the issuer of the presented assertion."
        );
        Self::invalid_client(5_000_611, message)
    }

    pub(super) fn assertion_audience(audience: &str) -> Self {
        let message = format!(
            "Client assertion audience claim does not match Realm issuer. Review the documentation at \
             https://docs.microsoft.com/azure/active-directory/develop/active-directory-certificate-credentials . Audience: '{audience}'."
        );
        Self::invalid_client(700_023, message)
    }

    pub(super) fn assertion_time(now: Timestamp, from: Option<i64>, until: i64) -> Self {
        let listed = |seconds: i64| {
            Timestamp::from_second(seconds).map_or_else(
                |_| "never".to_owned(),
                |at| at.strftime("%FT%T.0000000Z").to_string(),
            )
        };
        let message = format!(
            "Client assertion is not within its valid time range. Current time: {}, assertion valid from {}, expiry time of assertion {}.",
            listed(now.as_second()),
            from.map_or_else(|| "ever".to_owned(), listed),
            listed(until)
        );
        Self::invalid_client(700_024, message)
    }

    /// `what` is issuer, subject or audience.
    pub(super) fn no_federated(what: &str, value: &str, number: u32) -> Self {
        let message = format!(
            "No matching federated identity record found for presented assertion {what} '{value}'. Check your federated identity \
             credential Subject, Audience and Issuer against the presented assertion. \
             https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
        );
        Self::invalid_client(number, message)
    }

    /// The JSON body; `trace`, `correlation` and time are of this response.
    pub(super) fn body(&self, now: Timestamp, trace: &str, correlation: &str) -> Value {
        let timestamp = now.strftime("%F %TZ").to_string();
        json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
                self.number, self.message
            ),
            "error_codes": [self.number],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.number),
        })
    }
}
