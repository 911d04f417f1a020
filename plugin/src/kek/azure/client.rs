//! The SDK's client: vault, credential, CA, proxy, timeouts, and a count of requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::CloudConfiguration;
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::headers::AUTHORIZATION;
use azure_core::http::{
    AsyncRawResponse, ClientOptions, ExponentialRetryOptions, HttpClient, Request, RetryOptions,
    Transport,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};

use super::AzureKek;
use super::azure_json::{AzureJson, ConfigFileError};
use super::login::Login;
use super::name::{KeyName, NameError, Vault};
use super::token::RenewingCredential;
use crate::kek::Deadline;
use crate::kek::canonical::CanonicalName;
use crate::kek::context::{BACKOFF, CallContext, MAX_ATTEMPTS};
use crate::kek::tls::{CaFileError, read_ca};
use crate::kek::usage::UsageCounter;

/// Why the client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The flags do not name a key.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The credential's settings are incomplete.
    #[error(
        "no credential for Azure: {0}; set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or \
         AZURE_FEDERATED_TOKEN_FILE for workload identity, or use --auth managed-identity"
    )]
    Credential(String),
    /// The `azure.json` cannot be used.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
    /// The CA file cannot be used.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The proxy's URL is invalid.
    #[error("--proxy {url:?} is not a URL of a proxy such as http://127.0.0.1:7680: {reason}")]
    Proxy {
        /// The URL as given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// There are no CAs to check a certificate against.
    #[error(
        "this machine has no CA certificates, which {0} needs: install the package ca-certificates, or give --ca-file"
    )]
    NoRoots(String),
    /// The SDK rejects the configuration.
    #[error("the Azure SDK does not start: {0}")]
    Sdk(String),
}

/// How the plugin logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum AuthMethod {
    /// By the environment: a client secret, else a workload identity's token file, else the
    /// machine's managed identity
    #[default]
    Auto,
    /// AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
    ClientSecret,
    /// AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE
    WorkloadIdentity,
    /// The instance metadata service; AZURE_CLIENT_ID chooses a user-assigned identity
    ManagedIdentity,
}

/// Builds an [`AzureKek`].
#[derive(Debug)]
pub struct AzureKekBuilder {
    vault: Vault,
    key: String,
    version: Option<String>,
    auth: AuthMethod,
    secret: Option<(String, String, Secret)>,
    config_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    proxy: Option<String>,
    call_timeout: Duration,
}

impl AzureKekBuilder {
    pub(super) fn new(vault: Vault, key: String) -> Self {
        Self {
            vault,
            key,
            version: None,
            auth: AuthMethod::Auto,
            secret: None,
            config_file: None,
            ca_file: None,
            proxy: None,
            call_timeout: Duration::from_secs(2),
        }
    }

    /// Encrypts with this version only. By default the newest is used and rotations are followed.
    #[must_use]
    pub fn version(mut self, version: Option<impl Into<String>>) -> Self {
        self.version = version.map(Into::into);
        self
    }

    /// Sets how to log in.
    #[must_use]
    pub fn auth(mut self, auth: AuthMethod) -> Self {
        self.auth = auth;
        self
    }

    /// Uses a fixed client secret of Azure's public cloud and reads nothing from the environment.
    #[must_use]
    pub fn client_secret(mut self, tenant: &str, client_id: &str, secret: &str) -> Self {
        self.secret = Some((
            tenant.to_owned(),
            client_id.to_owned(),
            Secret::new(secret.to_owned()),
        ));
        self
    }

    /// Uses an `azure.json` as on Kubernetes nodes; its credentials take precedence over the
    /// environment's.
    #[must_use]
    pub fn config_file(mut self, path: Option<impl Into<PathBuf>>) -> Self {
        self.config_file = path.map(Into::into);
        self
    }

    /// Sets a PEM file with the only trusted CAs.
    #[must_use]
    pub fn ca_file(mut self, path: Option<impl Into<PathBuf>>) -> Self {
        self.ca_file = path.map(Into::into);
        self
    }

    /// Sets a proxy for every request. By default HTTPS_PROXY and related variables are used.
    #[must_use]
    pub fn proxy(mut self, url: Option<impl Into<String>>) -> Self {
        self.proxy = url.map(Into::into);
        self
    }

    /// Sets the timeout of a call including retries, 2 s by default. Half of it is the timeout of
    /// one attempt.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Validates the configuration and creates the client, without a call to the cloud. Needs a
    /// Tokio runtime for renewing tokens.
    pub async fn build(self) -> Result<Deadline<AzureKek>, ConfigError> {
        let file = self
            .config_file
            .as_deref()
            .map(AzureJson::read)
            .transpose()?;
        let cloud = file.as_ref().map(|file| file.cloud).unwrap_or_default();
        let name = KeyName::parse(&self.vault, cloud, &self.key, self.version.as_deref())?;
        let (requests, http) = (Arc::new(AtomicU64::new(0)), self.http(&name.vault)?);
        let counted = |all| CountingTransport {
            inner: Arc::clone(&http),
            requests: Arc::clone(&requests),
            all,
        };
        let options = |transport: CountingTransport| ClientOptions {
            transport: Some(Transport::new(Arc::new(transport))),
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                max_retries: MAX_ATTEMPTS - 1,
                initial_delay: azure_core::time::Duration::try_from(BACKOFF.0).unwrap_or_default(),
                ..ExponentialRetryOptions::default()
            }),
            ..ClientOptions::default()
        };
        let credential = RenewingCredential::new(self.credential(file, options(counted(true)))?);
        let key_options = KeyClientOptions {
            client_options: options(counted(false)),
            ..KeyClientOptions::default()
        };
        let client = KeyClient::new(&name.vault, credential, Some(key_options));
        let client = client.map_err(|error| ConfigError::Sdk(error.to_string()))?;
        let context = CallContext {
            key: name.display_name(),
            endpoint: name.vault.clone(),
            timeout: self.call_timeout,
        };
        let kek = AzureKek {
            client,
            name,
            use_wrap_key: AtomicBool::new(false),
            canonical_name: CanonicalName::default(),
            context,
            usage: UsageCounter::new(requests),
        };
        Ok(Deadline::new(kek, self.call_timeout))
    }

    fn http(&self, vault: &str) -> Result<Arc<reqwest::Client>, ConfigError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.call_timeout / 2)
            .timeout(self.call_timeout / 2)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &self.ca_file {
            let certificates = reqwest::Certificate::from_pem_bundle(&read_ca(path)?);
            let certificates = certificates.map_err(|error| CaFileError {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            builder = builder.tls_certs_only(certificates);
        } else if rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(ConfigError::NoRoots(vault.to_owned()));
        }
        if let Some(url) = &self.proxy {
            let proxy = reqwest::Proxy::all(url);
            let proxy = proxy.map_err(|error| ConfigError::Proxy {
                url: url.clone(),
                reason: error.to_string(),
            })?;
            builder = builder.proxy(proxy);
        }
        let client = builder
            .build()
            .map_err(|error| ConfigError::Sdk(error.to_string()))?;
        Ok(Arc::new(client))
    }

    fn credential(
        &self,
        file: Option<AzureJson>,
        options: ClientOptions,
    ) -> Result<Arc<dyn TokenCredential>, ConfigError> {
        if let (Some(file), Some(path)) = (file, &self.config_file) {
            let options = ClientOptions {
                cloud: Some(Arc::new(file.cloud.configuration())),
                ..options
            };
            let rejected = |error: azure_core::Error| ConfigFileError {
                path: path.clone(),
                reason: error.to_string(),
            };
            return Ok(file.login.credential(options).map_err(rejected)?);
        }
        let (login, cloud) = match &self.secret {
            Some((tenant, client_id, secret)) => {
                let (tenant, client_id, secret) =
                    (tenant.clone(), client_id.clone(), secret.clone());
                // Set explicitly, or the SDK takes the login host from AZURE_AUTHORITY_HOST.
                let public = Some(Arc::new(CloudConfiguration::AzurePublic));
                (
                    Login::ClientSecret {
                        tenant,
                        client_id,
                        secret,
                    },
                    public,
                )
            }
            None => (self.login_from_env()?, None),
        };
        let rejected = |error: azure_core::Error| ConfigError::Credential(error.to_string());
        login
            .credential(ClientOptions { cloud, ..options })
            .map_err(rejected)
    }

    fn login_from_env(&self) -> Result<Login, ConfigError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let need = |name: &str| {
            set(name).ok_or_else(|| ConfigError::Credential(format!("{name} is not set")))
        };
        let auth = match self.auth {
            AuthMethod::Auto if set("AZURE_CLIENT_SECRET").is_some() => AuthMethod::ClientSecret,
            AuthMethod::Auto if set("AZURE_FEDERATED_TOKEN_FILE").is_some() => {
                AuthMethod::WorkloadIdentity
            }
            AuthMethod::Auto => AuthMethod::ManagedIdentity,
            chosen => chosen,
        };
        Ok(match auth {
            AuthMethod::ClientSecret => Login::ClientSecret {
                tenant: need("AZURE_TENANT_ID")?,
                client_id: need("AZURE_CLIENT_ID")?,
                secret: Secret::new(need("AZURE_CLIENT_SECRET")?),
            },
            AuthMethod::WorkloadIdentity => Login::WorkloadIdentity {
                tenant: need("AZURE_TENANT_ID")?,
                client_id: need("AZURE_CLIENT_ID")?,
                token_file: need("AZURE_FEDERATED_TOKEN_FILE")?.into(),
            },
            AuthMethod::Auto | AuthMethod::ManagedIdentity => Login::ManagedIdentity {
                user_assigned: set("AZURE_CLIENT_ID"),
            },
        })
    }
}

/// A transport that counts requests. The SDK sends its first request without a token, to learn
/// where to get one; that request is not counted.
#[derive(Debug)]
struct CountingTransport {
    inner: Arc<reqwest::Client>,
    requests: Arc<AtomicU64>,
    all: bool,
}

#[async_trait]
impl HttpClient for CountingTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        if self.all || request.headers().get_optional_str(&AUTHORIZATION).is_some() {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.execute_request(request).await
    }
}
