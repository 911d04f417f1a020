//! The SDK's client: credentials, endpoint, timeouts, retries, and a count of requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use google_cloud_auth::credentials::{
    self, Credentials, external_account, impersonated, mds, service_account,
};
use google_cloud_kms_v1::client::KeyManagementService;
use serde_json::Value;

use super::GcpKek;
use super::name::{NameError, parse_key};
use super::retry::{self, Retries};
use crate::kek::Deadline;
use crate::kek::canonical::CanonicalName;
use crate::kek::context::CallContext;
use crate::kek::usage::UsageCounter;
use kmslab_program::file;

const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// Why the client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The flag does not name a key.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The endpoint is not a URL.
    #[error("--endpoint {0:?} is not a URL such as {ENDPOINT}")]
    Endpoint(String),
    /// The credentials file cannot be used.
    #[error(
        "no credentials for Google: {0}; set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or leave it unset \
         where the metadata server gives tokens"
    )]
    Credentials(String),
    /// The file of `--credentials-file` cannot be used.
    #[error("--credentials-file {}: {reason}", path.display())]
    CredentialsFile {
        /// The path as given.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There are no CAs to check a certificate against.
    #[error(
        "this machine has no CA certificates, which {0} needs: install the package ca-certificates, or set SSL_CERT_FILE"
    )]
    NoRoots(String),
    /// The SDK rejects the configuration.
    #[error("the Google Cloud SDK does not start: {0}")]
    Sdk(String),
}

/// Source of access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum CredentialsSource {
    /// GOOGLE_APPLICATION_CREDENTIALS; else the metadata server, if GCE_METADATA_HOST is set; else
    /// this user's gcloud login; else the machine's metadata server
    #[default]
    Auto,
    /// The metadata server, of the machine or of GCE_METADATA_HOST, even if this user has logged in
    /// with gcloud
    MetadataServer,
}

/// Builds a [`GcpKek`].
#[derive(Debug)]
pub struct GcpKekBuilder {
    key: String,
    endpoint: Option<String>,
    credentials: Option<Credentials>,
    source: CredentialsSource,
    credentials_file: Option<PathBuf>,
    call_timeout: Duration,
}

impl GcpKekBuilder {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            endpoint: None,
            credentials: None,
            source: CredentialsSource::Auto,
            credentials_file: None,
            call_timeout: Duration::from_secs(2),
        }
    }

    /// Sets the endpoint, instead of Cloud KMS' own.
    #[must_use]
    pub fn endpoint(mut self, url: Option<impl Into<String>>) -> Self {
        self.endpoint = url.map(Into::into);
        self
    }

    /// Uses these credentials and reads nothing from the environment.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets the source of access tokens, unless [`Self::credentials`] or [`Self::credentials_file`]
    /// is given.
    #[must_use]
    pub fn source(mut self, source: CredentialsSource) -> Self {
        self.source = source;
        self
    }

    /// Uses a file as GOOGLE_APPLICATION_CREDENTIALS names one: a service account key, or a
    /// workload identity federation configuration.
    #[must_use]
    pub fn credentials_file(mut self, path: Option<impl Into<PathBuf>>) -> Self {
        self.credentials_file = path.map(Into::into);
        self
    }

    /// Sets the timeout of a call including retries, 2 s by default. Half of it is the timeout of
    /// one attempt.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Validates the configuration and creates the client, without a call to the cloud.
    pub async fn build(self) -> Result<Deadline<GcpKek>, ConfigError> {
        let key = parse_key(&self.key)?;
        let endpoint = self
            .endpoint
            .as_deref()
            .unwrap_or(ENDPOINT)
            .trim_end_matches('/')
            .to_owned();
        let url = endpoint
            .parse::<http::Uri>()
            .ok()
            .filter(|url| url.host().is_some());
        let https = match url.as_ref().and_then(http::Uri::scheme_str) {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ConfigError::Endpoint(endpoint)),
        };
        if https && rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(ConfigError::NoRoots(endpoint));
        }
        let credentials = match (self.credentials, &self.credentials_file) {
            (Some(given), _) => given,
            (None, Some(path)) => from_file(path)?,
            (None, None) => from_source(self.source)?,
        };
        let requests = Arc::new(AtomicU64::new(0));
        let retries = Retries {
            counter: Arc::clone(&requests),
        };
        let client = KeyManagementService::builder()
            .with_endpoint(&endpoint)
            .with_credentials(credentials)
            .with_retry_policy(retries)
            .with_backoff_policy(retry::backoff())
            .build()
            .await
            .map_err(|error| ConfigError::Sdk(causes(&error)))?;
        let context = CallContext {
            key: key.clone(),
            endpoint,
            timeout: self.call_timeout,
        };
        let kek = GcpKek {
            client,
            key,
            canonical_name: CanonicalName::default(),
            context,
            usage: UsageCounter::new(requests),
        };
        Ok(Deadline::new(kek, self.call_timeout))
    }
}

fn from_file(path: &Path) -> Result<Credentials, ConfigError> {
    let unusable = |reason: String| ConfigError::CredentialsFile {
        path: path.to_owned(),
        reason,
    };
    let text = file::read(path, file::MAX_CONFIGURATION_BYTES)
        .map_err(|error| unusable(error.to_string()))?;
    let json: Value =
        serde_json::from_slice(&text).map_err(|error| unusable(format!("not JSON: {error}")))?;
    let kind = json["type"].as_str().unwrap_or_default().to_owned();
    let built = match kind.as_str() {
        "service_account" => service_account::Builder::new(json).build(),
        "external_account" => external_account::Builder::new(json).build(),
        "impersonated_service_account" => impersonated::Builder::new(json).build(),
        other => {
            return Err(unusable(format!(
                "its type is {other:?}; use a file of the type service_account, external_account or impersonated_service_account"
            )));
        }
    };
    built.map_err(|error| unusable(causes(&error)))
}

fn from_source(source: CredentialsSource) -> Result<Credentials, ConfigError> {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // A metadata server in the environment was meant for this program; a login found on disk was
    // meant for the user's own work.
    let named = !set("GOOGLE_APPLICATION_CREDENTIALS") && set("GCE_METADATA_HOST");
    let built = match source {
        CredentialsSource::Auto if !named => credentials::Builder::default().build(),
        CredentialsSource::Auto | CredentialsSource::MetadataServer => {
            mds::Builder::default().build()
        }
    };
    built.map_err(|error| ConfigError::Credentials(causes(&error)))
}

/// The messages of an error and its sources.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in crate::kek::tls::error_chain(error) {
        let text = error.to_string();
        // Some messages repeat their source's.
        if !texts.iter().any(|earlier| earlier.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
