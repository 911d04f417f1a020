//! Client of the emulator's admin port.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// One key as the admin port's `/keys` shows it; no material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// `aws`.
    pub cloud: String,
    /// The key's name in its cloud: an ARN.
    pub key: String,
    /// Its state, in the vendor's word.
    pub state: String,
    /// Number of the version that new blobs are made with.
    pub primary: u32,
    /// Every version that it has had, oldest first.
    pub versions: Vec<VersionRow>,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// 1 is the first.
    pub number: u32,
    /// What the vendor's API calls it: a KeyMaterialId.
    pub id: String,
    /// What a ciphertext blob shows of it, as hex.
    pub blob_id: String,
    /// When it was made, on the lab clock.
    pub created: String,
}

/// The admin port of one emulator.
#[derive(Debug, Clone)]
pub struct Admin {
    url: String,
    http: reqwest::Client,
}

impl Admin {
    /// The port at `url`, `http://127.0.0.1:7690`.
    pub fn new(url: impl Into<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { url: url.into(), http })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The key table.
    pub async fn keys(&self) -> anyhow::Result<Vec<KeyRow>> {
        serde_json::from_str(&self.get("/keys").await?).context("the emulator's admin port answered /keys in an unknown form")
    }

    /// Requests that carried `access_key_id`, answered or refused, whatever the operation.
    pub async fn requests_of(&self, access_key_id: &str) -> anyhow::Result<u64> {
        let caller = format!("caller=\"{access_key_id}\"");
        Ok(sum_of(&self.get("/metrics").await?, "kmslab_emulator_requests_total", |labels| labels.contains(&caller)))
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.url);
        let answer = self.http.get(&url).send().await.with_context(|| format!("no answer from the emulator's admin port: GET {url}"))?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("the emulator's admin port answered GET {path} with {status}: {body}");
        }
        Ok(body)
    }
}

/// The sum of a counter's samples whose label text holds to `wanted`, in the Prometheus text format.
pub fn sum_of(metrics: &str, name: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (series_name, labels) = series.split_once('{').unwrap_or((series, ""));
            (series_name == name && wanted(labels)).then(|| value.parse::<f64>().ok())?
        })
        .map(|value| value as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_by_label() {
        let text = "# TYPE a_total counter\na_total{caller=\"x\",code=\"200\"} 3\na_total{caller=\"y\"} 4\na_total{caller=\"x\",code=\"400\"} 2\nab_total{caller=\"x\"} 9\nplain_total 7\n";
        assert_eq!(sum_of(text, "a_total", |l| l.contains("caller=\"x\"")), 5);
        assert_eq!(sum_of(text, "plain_total", |_| true), 7);
        assert_eq!(sum_of("garbage", "a_total", |_| true), 0);
    }
}
