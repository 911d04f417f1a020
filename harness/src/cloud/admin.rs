//! Client of the emulator's admin port.

use anyhow::Context;
use serde::Deserialize;

use crate::etcd::keytable::KeyTable;
use crate::scrape;

/// The admin port of one emulator.
#[derive(Debug, Clone)]
pub struct Admin {
    url: String,
    http: reqwest::Client,
}

/// The answer of `/keys`.
#[derive(Deserialize)]
struct Keys {
    keys: KeyTable,
}

impl Admin {
    /// The port at `url`, `http://127.0.0.1:7690`.
    pub fn new(url: impl Into<String>) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.into(),
            http: scrape::local_client()?,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it answers.
    pub async fn health(&self) -> anyhow::Result<()> {
        self.get("/healthz").await.map(drop)
    }

    /// The key table.
    pub async fn keys(&self) -> anyhow::Result<KeyTable> {
        let text = self.get("/keys").await?;
        let keys: Keys = serde_json::from_str(&text)
            .context("the emulator's admin port answered /keys in an unknown form")?;
        Ok(keys.keys)
    }

    /// Requests that carried `access_key_id`, answered or refused, whatever the operation.
    pub async fn requests_of(&self, access_key_id: &str) -> anyhow::Result<u64> {
        let caller = format!("caller=\"{access_key_id}\"");
        let metrics = self.get("/metrics").await?;
        Ok(scrape::sum_of(
            &metrics,
            "kmslab_emulator_requests_total",
            |labels| labels.contains(&caller),
        ))
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        scrape::text(
            &self.http,
            "the emulator's admin port",
            &format!("{}{path}", self.url),
        )
        .await
    }
}
