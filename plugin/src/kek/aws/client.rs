//! The SDK's client: region, endpoint, CA, credentials, timeouts, and a count of requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{
    ConfigBag, Intercept, Region, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_kms::error::BoxError;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use super::AwsKek;
use super::name::{KeyName, NameError, is_region};
use crate::kek::Deadline;
use crate::kek::context::{BACKOFF, CallContext, MAX_ATTEMPTS};
use crate::kek::tls::{CaFileError, read_ca};
use crate::kek::usage::UsageCounter;

/// Longer than the probe interval, so that requests find an open connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--key` is invalid.
    #[error(transparent)]
    Key(#[from] NameError),
    /// The key's ARN and `--region` disagree.
    #[error(
        "--key is in region {key} but --region says {region}: give the key's own region, or leave --region out"
    )]
    OtherRegion {
        /// Region of the ARN.
        key: String,
        /// Region as given.
        region: String,
    },
    /// No region is configured.
    #[error("no region: give --region, set AWS_REGION, or give --key as an ARN")]
    NoRegion,
    /// The region's name is invalid.
    #[error("--region {0:?} is not a region's name such as us-east-1")]
    Region(String),
    /// The endpoint is not a URL of a server.
    #[error(
        "--endpoint-url {0:?} is not a URL such as http://127.0.0.1:7600 or https://kms.us-east-1.amazonaws.com"
    )]
    Endpoint(String),
    /// There are no CAs to check a certificate against.
    #[error(
        "this machine has no root certificates to check {0} against: install them (`apt-get install ca-certificates`, in a container \
         mount /etc/ssl/certs), or give the endpoint's own CA with --ca-file"
    )]
    NoRoots(String),
    /// The CA file cannot be used.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
}

/// Builds an [`AwsKek`]; see its `builder`.
#[derive(Debug)]
pub struct AwsKekBuilder {
    key: String,
    region: Option<String>,
    endpoint_url: Option<String>,
    ca_file: Option<PathBuf>,
    credentials: Option<Credentials>,
    call_timeout: Duration,
}

impl AwsKekBuilder {
    pub(super) fn new(key: String) -> Self {
        let call_timeout = Duration::from_secs(2);
        Self {
            key,
            region: None,
            endpoint_url: None,
            ca_file: None,
            credentials: None,
            call_timeout,
        }
    }

    /// Sets the region; required unless the key is an ARN.
    #[must_use]
    pub fn region(mut self, region: Option<impl Into<String>>) -> Self {
        self.region = region.map(Into::into);
        self
    }

    /// Sets the endpoint, instead of the region's.
    #[must_use]
    pub fn endpoint_url(mut self, url: Option<impl Into<String>>) -> Self {
        self.endpoint_url = url.map(Into::into);
        self
    }

    /// Sets a PEM file with the only trusted CAs.
    #[must_use]
    pub fn ca_file(mut self, path: Option<impl Into<PathBuf>>) -> Self {
        self.ca_file = path.map(Into::into);
        self
    }

    /// Uses fixed credentials and reads nothing from the environment or files. By default the SDK's
    /// chain is used: environment, profile, web identity, container, instance.
    #[must_use]
    pub fn credentials(mut self, access_key_id: &str, secret_access_key: &str) -> Self {
        self.credentials = Some(Credentials::new(
            access_key_id,
            secret_access_key,
            None,
            None,
            "kmslab",
        ));
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
    pub async fn build(self) -> Result<Deadline<AwsKek>, ConfigError> {
        let name = KeyName::parse(&self.key)?;
        let region = self.checked_region(&name)?;
        let has_roots = !rustls_native_certs::load_native_certs().certs.is_empty();
        let (builder, from_environment) = self.load_config(&region, has_roots).await?;
        let endpoint = self.endpoint_url.clone().or(from_environment);
        if let Some(url) = &endpoint {
            check_url(url)?;
        }
        let plain = endpoint
            .as_deref()
            .is_some_and(|url| url.starts_with("http:"));
        if !plain && !has_roots && self.ca_file.is_none() {
            return Err(ConfigError::NoRoots(
                endpoint.unwrap_or_else(|| format!("AWS KMS in {region}")),
            ));
        }
        let requests = Arc::new(AtomicU64::new(0));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.call_timeout / 2)
            .operation_attempt_timeout(self.call_timeout / 2)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(MAX_ATTEMPTS)
            .with_initial_backoff(BACKOFF.0)
            .with_max_backoff(BACKOFF.1);
        let mut builder = builder
            .http_client(self.http_client(plain)?)
            .timeout_config(timeouts)
            .retry_config(retries)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(CountAttempts(requests.clone()));
        builder.set_endpoint_url(endpoint.clone());
        let kek = AwsKek {
            client: Client::from_conf(builder.build()),
            arn: ArcSwapOption::empty(),
            context: CallContext {
                key: self.key,
                endpoint: endpoint.unwrap_or_else(|| format!("AWS KMS in {region}")),
                timeout: self.call_timeout,
            },
            name,
            usage: UsageCounter::new(requests),
        };
        Ok(Deadline::new(kek, self.call_timeout))
    }

    /// The client's configuration, and an endpoint from the environment.
    async fn load_config(
        &self,
        region: &str,
        has_roots: bool,
    ) -> Result<(aws_sdk_kms::config::Builder, Option<String>), ConfigError> {
        let region = Region::new(region.to_owned());
        if let Some(credentials) = &self.credentials {
            let builder = aws_sdk_kms::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(region)
                .credentials_provider(credentials.clone());
            return Ok((builder, None));
        }
        // Credentials may come from other servers than KMS. Without any CAs the SDK must not load
        // the system's, which would panic.
        let mut trust = TrustStore::empty().with_native_roots(has_roots);
        if let Some(path) = &self.ca_file {
            trust = trust.with_pem_certificate(read_ca(path)?);
        }
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .http_client(self.https(trust)?);
        let shared = shared.load().await;
        Ok((
            aws_sdk_kms::config::Builder::from(&shared),
            shared.endpoint_url().map(str::to_owned),
        ))
    }

    fn checked_region(&self, name: &KeyName) -> Result<String, ConfigError> {
        match (name.region(), self.region.as_deref()) {
            (_, Some(region)) if !is_region(region) => Err(ConfigError::Region(region.to_owned())),
            (Some(key), Some(region)) if key != region => Err(ConfigError::OtherRegion {
                key: key.to_owned(),
                region: region.to_owned(),
            }),
            (Some(region), _) | (None, Some(region)) => Ok(region.to_owned()),
            (None, None) => ["AWS_REGION", "AWS_DEFAULT_REGION"]
                .into_iter()
                .find_map(|variable| {
                    std::env::var(variable)
                        .ok()
                        .filter(|region| is_region(region))
                })
                .ok_or(ConfigError::NoRegion),
        }
    }

    fn http_client(&self, plain: bool) -> Result<SharedHttpClient, ConfigError> {
        match &self.ca_file {
            Some(path) => self.https(TrustStore::empty().with_pem_certificate(read_ca(path)?)),
            None if plain => Ok(aws_smithy_http_client::Builder::new()
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                .build_http()),
            None => self.https(TrustStore::default()),
        }
    }

    fn https(&self, trust: TrustStore) -> Result<SharedHttpClient, ConfigError> {
        let builder = aws_smithy_http_client::Builder::new().pool_idle_timeout(POOL_IDLE_TIMEOUT);
        let tls = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .map_err(|err| CaFileError {
                path: self.ca_file.clone().unwrap_or_default(),
                reason: err.to_string(),
            })?;
        Ok(builder
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build_https())
    }
}

fn check_url(url: &str) -> Result<(), ConfigError> {
    let good = url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    if good {
        Ok(())
    } else {
        Err(ConfigError::Endpoint(url.to_owned()))
    }
}

/// Counts every attempt, so that retries are counted as the server sees them.
#[derive(Debug)]
struct CountAttempts(Arc<AtomicU64>);

impl Intercept for CountAttempts {
    fn name(&self) -> &'static str {
        "CountAttempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
