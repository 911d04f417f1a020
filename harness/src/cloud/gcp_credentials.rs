//! Credentials of the emulator's service accounts, for Google's SDK in this process.
//!
//! The SDK's own credentials prefer the environment: `GCE_METADATA_HOST` over the configured
//! endpoint, `HTTP_PROXY` for the request, `GOOGLE_CLOUD_UNIVERSE_DOMAIN` over the client's. These
//! credentials use the endpoint that they were created for.

use std::time::Duration;

use anyhow::Context as _;
use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, EntityTag, service_account,
};
use google_cloud_auth::errors::CredentialsError;
use http::Extensions;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::metrics_client;

/// A token that expires within this time is replaced.
const MIN_REMAINING: Duration = Duration::from_secs(60);

/// The account of the metadata server of the emulator at `endpoint`, such as
/// `http://127.0.0.1:7600`.
pub(super) fn metadata(endpoint: &str) -> anyhow::Result<Credentials> {
    let server = MetadataServer {
        http: metrics_client::local_client()?,
        endpoint: endpoint.to_owned(),
        kept: Mutex::default(),
    };
    Ok(Credentials::from(server))
}

/// The account of a key file, with self-signed tokens.
pub(super) fn key_file(file: &str) -> anyhow::Result<Credentials> {
    Ok(Credentials::from(KeyFile(
        service_account::Builder::new(serde_json::from_str(file)?).build()?,
    )))
}

/// Gets an access token from the metadata server.
pub(super) async fn access_token(
    http: &reqwest::Client,
    endpoint: &str,
) -> anyhow::Result<AccessToken> {
    let url = format!("{endpoint}/computeMetadata/v1/instance/service-accounts/default/token");
    let answer = http
        .get(&url)
        .header("Metadata-Flavor", "Google")
        .send()
        .await?
        .error_for_status()?;
    let text = Zeroizing::new(answer.text().await?);
    serde_json::from_str(&text).with_context(|| format!("{url} answered in an unknown form"))
}

/// Response of a token endpoint.
#[derive(Deserialize)]
pub(super) struct AccessToken {
    access_token: String,
    /// Lifetime in seconds.
    expires_in: u64,
}

impl AccessToken {
    /// The token itself.
    pub(super) fn secret(&self) -> &str {
        &self.access_token
    }
}

/// The universe that the SDK expects, which it reads from the environment; the endpoint is the
/// emulator's in any case.
fn expected_universe() -> Option<String> {
    std::env::var("GOOGLE_CLOUD_UNIVERSE_DOMAIN").ok()
}

#[derive(Debug)]
struct KeyFile(Credentials);

impl CredentialsProvider for KeyFile {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        self.0.headers(extensions).await
    }

    async fn universe_domain(&self) -> Option<String> {
        expected_universe()
    }
}

struct MetadataServer {
    http: reqwest::Client,
    endpoint: String,
    kept: Mutex<Option<CachedToken>>,
}

struct CachedToken {
    headers: HeaderMap,
    tag: EntityTag,
    renew_at: Instant,
}

impl std::fmt::Debug for MetadataServer {
    /// Omits the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataServer")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl CredentialsProvider for MetadataServer {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let mut kept = self.kept.lock().await;
        let held = kept.take().filter(|kept| kept.renew_at > Instant::now());
        let CachedToken { headers, tag, .. } = match held {
            Some(held) => kept.insert(held),
            None => kept.insert(
                self.current_token()
                    .await
                    .map_err(|error| CredentialsError::from_msg(true, format!("{error:#}")))?,
            ),
        };
        if extensions.get::<EntityTag>() == Some(&*tag) {
            return Ok(CacheableResource::NotModified);
        }
        Ok(CacheableResource::New {
            entity_tag: tag.clone(),
            data: headers.clone(),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        expected_universe()
    }
}

impl MetadataServer {
    async fn current_token(&self) -> anyhow::Result<CachedToken> {
        let token = access_token(&self.http, &self.endpoint).await?;
        let lives = Duration::from_secs(token.expires_in).saturating_sub(MIN_REMAINING);
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.secret()))?;
        value.set_sensitive(true);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        Ok(CachedToken {
            headers,
            tag: EntityTag::new(),
            renew_at: Instant::now() + lives,
        })
    }
}
