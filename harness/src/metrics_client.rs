//! Counters in Prometheus' text format, from the emulator's admin port and the plugin's health
//! port.

use std::time::Duration;

use anyhow::{Context, bail};

/// An HTTP client for ports of this machine: no proxy, and a timeout of 10 s.
pub fn local_client() -> anyhow::Result<reqwest::Client> {
    crate::tls::install_provider();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
        .context("cannot set up an HTTP client")
}

/// GET of a port of this machine; `whose` names it in errors.
pub async fn get_text(http: &reqwest::Client, whose: &str, url: &str) -> anyhow::Result<String> {
    let answer = http
        .get(url)
        .send()
        .await
        .with_context(|| format!("no answer from {whose}: GET {url}"))?;
    let status = answer.status();
    let body = answer.text().await?;
    if !status.is_success() {
        bail!("{whose} answered GET {url} with {status}: {body}");
    }
    Ok(body)
}

/// The sum of a counter's samples whose labels match `wanted`.
pub fn sum_counter(metrics: &str, name: &str, expected: impl Fn(&str) -> bool) -> u64 {
    metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (series_name, labels) = series.split_once('{').unwrap_or((series, ""));
            (series_name == name && expected(labels)).then(|| value.parse::<u64>().ok())?
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_by_label() {
        let text = "# TYPE a_total counter\na_total{caller=\"x\",code=\"200\"} 3\na_total{caller=\"y\"} 4\na_total{caller=\"x\",code=\"400\"} 2\nab_total{caller=\"x\"} 9\nplain_total 7\n";
        assert_eq!(
            sum_counter(text, "a_total", |l| l.contains("caller=\"x\"")),
            5
        );
        assert_eq!(sum_counter(text, "plain_total", |_| true), 7);
        assert_eq!(sum_counter("garbage", "a_total", |_| true), 0);
    }
}
