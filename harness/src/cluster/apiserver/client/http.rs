//! HTTP requests to one API server; error responses become [`ApiError`] with the server's message.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Url};
use serde_json::Value;

use crate::cluster::ApiError;
use crate::cluster::apiserver::StartError;
use crate::cluster::apiserver::kubeconfig::ClientAccess;

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Metadata only, so that the client never receives a secret's value.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The API server ends a request after 60 s (`--request-timeout`); wait for its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(65);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    url: String,
}

impl Http {
    pub(super) fn new(url: &str, access: &ClientAccess) -> Result<Self, StartError> {
        crate::tls::install_provider();
        let client = client(access).map_err(|source| StartError::Client {
            url: url.into(),
            source,
        })?;
        Ok(Self {
            client,
            url: url.into(),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let mut request = self
            .client
            .request(method, self.at(path, query)?)
            .header(ACCEPT, JSON);
        if let Some(body) = body {
            request = request.json(body);
        }
        read_response(request).await
    }

    pub(super) async fn merge_patch_metadata(
        &self,
        path: &str,
        patch: &Value,
    ) -> Result<Value, ApiError> {
        let request = self
            .client
            .patch(self.at(path, &[])?)
            .header(ACCEPT, METADATA_ONLY);
        read_response(
            request
                .header(CONTENT_TYPE, MERGE_PATCH)
                .body(patch.to_string()),
        )
        .await
    }

    /// GET; returns status and body, whatever they are.
    pub(super) async fn text(&self, path: &str) -> Result<(u16, String), ApiError> {
        send(self.client.get(self.at(path, &[])?))
            .await
            .map(|(status, body)| {
                let body = String::from_utf8_lossy(&body).into_owned();
                (status, body)
            })
    }

    fn at(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, ApiError> {
        let mut url = Url::parse(&format!("{}{path}", self.url)).map_err(|error| {
            ApiError::no_answer(format!("{}{path} is not a URL: {error}", self.url))
        })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

fn client(access: &ClientAccess) -> reqwest::Result<Client> {
    Client::builder()
        .tls_certs_only([Certificate::from_pem(&access.ca)?])
        .identity(Identity::from_pem(&access.identity)?)
        // Requests to 127.0.0.1 must not use HTTPS_PROXY.
        .no_proxy()
        .timeout(REQUEST_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
}

async fn send(request: RequestBuilder) -> Result<(u16, Vec<u8>), ApiError> {
    let no_answer = |error: reqwest::Error| ApiError::no_answer(error_chain(&error.without_url()));
    let answer = request.send().await.map_err(no_answer)?;
    let status = answer.status().as_u16();
    Ok((status, answer.bytes().await.map_err(no_answer)?.to_vec()))
}

async fn read_response(request: RequestBuilder) -> Result<Value, ApiError> {
    let (status, body) = send(request).await?;
    if !(200..300).contains(&status) {
        return Err(error_from_response(status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::no_answer(format!(
            "the answer ({status}, {} bytes) is not JSON: {error}",
            body.len()
        ))
    })
}

/// Parses a Status object, or the text of a handler in front of the API.
fn error_from_response(status: u16, body: &[u8]) -> ApiError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| parsed.get(name).and_then(Value::as_str).map(str::to_owned);
    if text("kind").as_deref() == Some("Status") {
        let reason = text("reason")
            .filter(|reason| !reason.is_empty())
            .unwrap_or_else(|| canonical(status));
        return ApiError {
            status,
            reason,
            message: text("message").unwrap_or_default(),
        };
    }
    ApiError {
        status,
        reason: canonical(status),
        message: String::from_utf8_lossy(body).trim().to_owned(),
    }
}

fn canonical(status: u16) -> String {
    let known = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    known.unwrap_or("Unknown").replace(' ', "")
}

/// reqwest's own message only says that it failed; the reason is in the sources.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_error_keeps_the_servers_message() {
        let status = r#"{"kind":"Status","status":"Failure","message":"secrets \"x\" not found","reason":"NotFound","code":404}"#;
        let error = error_from_response(404, status.as_bytes());
        assert_eq!(error.to_string(), "404 NotFound: secrets \"x\" not found");
        // A handler that fails to read etcd returns a Status without a reason.
        let error = error_from_response(
            500,
            br#"{"kind":"Status","message":"unable to transform key"}"#,
        );
        assert_eq!(
            error.to_string(),
            "500 InternalServerError: unable to transform key"
        );
        assert_eq!(
            error_from_response(502, b"bad\n").to_string(),
            "502 BadGateway: bad"
        );
        assert_eq!(error_from_response(599, b"").reason, "Unknown");
    }
}
