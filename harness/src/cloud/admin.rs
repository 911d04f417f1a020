//! Client of the emulator's admin port.

use anyhow::Context;
use serde::Deserialize;

use crate::etcd::keytable::KeyTable;
use crate::metrics_client;

/// The admin port of an emulator.
#[derive(Debug, Clone)]
pub struct AdminClient {
    url: String,
    http: reqwest::Client,
}

/// Response of `/keys`.
#[derive(Deserialize)]
struct KeysResponse {
    keys: KeyTable,
}

impl AdminClient {
    /// Creates a client for `url`, such as `http://127.0.0.1:7690`.
    pub fn new(url: impl Into<String>) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.into(),
            http: metrics_client::local_client()?,
        })
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fails unless the port responds.
    pub async fn health(&self) -> anyhow::Result<()> {
        self.get("/healthz").await.map(drop)
    }

    /// Returns the key table.
    pub async fn keys(&self) -> anyhow::Result<KeyTable> {
        let text = self.get("/keys").await?;
        let keys: KeysResponse = serde_json::from_str(&text)
            .context("the emulator's admin port answered /keys in an unknown form")?;
        Ok(keys.keys)
    }

    /// Number of requests with `access_key_id`, successful or not, of all operations.
    pub async fn request_count(&self, access_key_id: &str) -> anyhow::Result<u64> {
        let caller = format!("caller=\"{access_key_id}\"");
        let metrics = self.get("/metrics").await?;
        Ok(metrics_client::sum_counter(
            &metrics,
            "kmslab_emulator_requests_total",
            |labels| labels.contains(&caller),
        ))
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        metrics_client::get_text(
            &self.http,
            "the emulator's admin port",
            &format!("{}{path}", self.url),
        )
        .await
    }
}
