//! Client of the admin port.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::follow::AuditStream;
use crate::{
    AuditPage, AuditQuery, ClockMoved, Clocks, Endpoints, FaultFile, FaultTable, FaultsAdded,
    FaultsRemoved, KeyTable, RequestCounts,
};

/// Time for a response. A move of the clock may create many RSA keys.
const TIMEOUT: Duration = Duration::from_secs(10);
const CLOCK_TIMEOUT: Duration = Duration::from_secs(300);
/// Time for a whole stream of events, which has no end of its own.
const STREAM_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why the admin port did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The HTTP client could not be created.
    #[error("cannot create an HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    /// There is no response.
    #[error("no answer from the emulator's admin port at {url}: {source}")]
    NoResponse {
        /// URL of the request.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The response is an error.
    #[error("the emulator's admin port answered {url} with {status}: {message}")]
    Rejected {
        /// URL of the request.
        url: String,
        /// HTTP status.
        status: u16,
        /// Body of the response.
        message: String,
    },
    /// The response is not one of an emulator of this version.
    #[error("the emulator's admin port answered {url} in an unknown form: {source}")]
    UnknownForm {
        /// URL of the request.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A stream has something else than events.
    #[error("the emulator's admin port answered {url} with something else than events")]
    NotAnEvent {
        /// URL of the request.
        url: String,
    },
}

/// The admin port of an emulator.
#[derive(Debug, Clone)]
pub struct AdminClient {
    url: String,
    http: reqwest::Client,
}

/// Response of `/keys`.
#[derive(Deserialize)]
struct Keys {
    keys: KeyTable,
}

impl AdminClient {
    /// Creates a client for `url`, such as `http://127.0.0.1:7690`. Proxies are not used.
    pub fn new(url: impl Into<String>) -> Result<Self, AdminError> {
        // reqwest needs a TLS provider, even for HTTP. An error means that there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
        Ok(Self {
            url: url.into(),
            http: builder.build().map_err(AdminError::Client)?,
        })
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fails unless the port responds.
    pub async fn health(&self) -> Result<(), AdminError> {
        self.send(self.http.get(self.at("/healthz")))
            .await
            .map(drop)
    }

    /// Returns the addresses and files with which clients use the emulator.
    pub async fn endpoints(&self) -> Result<Endpoints, AdminError> {
        self.json(self.http.get(self.at("/endpoints"))).await
    }

    /// Returns all keys with their versions.
    pub async fn keys(&self) -> Result<KeyTable, AdminError> {
        Ok(self
            .json::<Keys>(self.http.get(self.at("/keys")))
            .await?
            .keys)
    }

    /// Returns the request counts.
    pub async fn requests(&self) -> Result<RequestCounts, AdminError> {
        self.json(self.http.get(self.at("/requests"))).await
    }

    /// Returns the clocks.
    pub async fn clocks(&self) -> Result<Clocks, AdminError> {
        self.json(self.http.get(self.at("/clock"))).await
    }

    /// Advances the lab clock and applies the rotations and deletions that become due.
    pub async fn advance_clock(&self, by: Duration) -> Result<ClockMoved, AdminError> {
        self.move_clock(&json!({ "advance": by.as_secs_f64() }))
            .await
    }

    /// Sets the lab clock to a later time and applies what becomes due.
    pub async fn set_clock(&self, time: Timestamp) -> Result<ClockMoved, AdminError> {
        self.move_clock(&json!({ "set": time })).await
    }

    async fn move_clock(&self, body: &Value) -> Result<ClockMoved, AdminError> {
        let request = self.http.post(self.at("/clock")).json(body);
        self.json(request.timeout(CLOCK_TIMEOUT)).await
    }

    /// Returns the faults with their hits.
    pub async fn faults(&self) -> Result<FaultTable, AdminError> {
        self.json(self.http.get(self.at("/faults"))).await
    }

    /// Adds faults, all or none, and returns their names.
    pub async fn add_faults(&self, faults: &FaultFile) -> Result<Vec<String>, AdminError> {
        let request = self.http.post(self.at("/faults"));
        let added: FaultsAdded = self.json(request.json(faults)).await?;
        Ok(added.names)
    }

    /// Removes a fault. Fails if there is none of that name.
    pub async fn remove_fault(&self, name: &str) -> Result<(), AdminError> {
        let name: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = self.http.delete(self.at(&format!("/faults/{name}")));
        self.send(request).await.map(drop)
    }

    /// Removes all faults and returns their number.
    pub async fn clear_faults(&self) -> Result<usize, AdminError> {
        let removed: FaultsRemoved = self.json(self.http.delete(self.at("/faults"))).await?;
        Ok(removed.removed)
    }

    /// Returns events of the audit trail, oldest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, AdminError> {
        self.json(self.http.get(self.at("/audit")).query(query))
            .await
    }

    /// Returns the events of a query and then those that happen, until the stream is dropped.
    pub async fn follow_audit(&self, query: &AuditQuery) -> Result<AuditStream, AdminError> {
        let request = self.http.get(self.at("/audit/stream")).query(query);
        let (url, response) = self.execute(request.timeout(STREAM_TIMEOUT)).await?;
        Ok(AuditStream::new(url, response))
    }

    /// Returns all that the emulator has, as a seed file. Without `with_material`, key material and
    /// what callers log in with are left out.
    pub async fn export(&self, with_material: bool) -> Result<Value, AdminError> {
        let request = self.http.get(self.at("/export"));
        self.json(request.query(&[("with-material", with_material)]))
            .await
    }

    /// Removes all keys and restores the state of the start.
    pub async fn reset(&self) -> Result<(), AdminError> {
        self.send(self.http.post(self.at("/reset"))).await.map(drop)
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, AdminError> {
        let (url, text) = self.send(request).await?;
        serde_json::from_str(&text).map_err(|source| AdminError::UnknownForm { url, source })
    }

    /// Returns the URL of the request and the body of the response.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(String, String), AdminError> {
        let (url, response) = self.execute(request).await?;
        match response.text().await {
            Ok(text) => Ok((url, text)),
            Err(source) => Err(AdminError::NoResponse { url, source }),
        }
    }

    /// Returns the URL of the request and its response, if that is not an error.
    async fn execute(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(String, reqwest::Response), AdminError> {
        let request = request.build().map_err(AdminError::Client)?;
        let url = request.url().to_string();
        let no_response = |source| AdminError::NoResponse {
            url: url.clone(),
            source,
        };
        let response = self.http.execute(request).await.map_err(no_response)?;
        let status = response.status();
        if !status.is_success() {
            let message = response.text().await.map_err(no_response)?;
            return Err(AdminError::Rejected {
                url,
                status: status.as_u16(),
                message,
            });
        }
        Ok((url, response))
    }
}
