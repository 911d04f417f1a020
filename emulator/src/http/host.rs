//! Host names that the emulator answers. A web page can make its own name resolve to 127.0.0.1 (DNS
//! rebinding) and would then share an origin with the emulator's clock, tokens and keys. Therefore
//! only names that nobody else can point here are answered.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri, header};

use crate::http::drain::{self, SharedBody};

/// Domains that the vendors own; clients use them through the proxy, a hosts file or a cluster's
/// DNS.
const VENDOR_DOMAINS: &[&str] = &[
    "amazonaws.com",
    "api.aws",
    "amazonaws.com.cn",
    "api.amazonwebservices.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
    "vault.azure.net",
    "managedhsm.azure.net",
    "microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
    "management.azure.com",
    "graph.microsoft.com",
    "googleapis.com",
    "accounts.google.com",
    // Never in public DNS: RFC 6761, and ICANN's decision of July 2024. `metadata.google.internal`
    // and `host.docker.internal` are below them.
    "localhost",
    "internal",
];

/// Link-local address at which every cloud serves its instance metadata.
pub(crate) const METADATA_HOST: &str = "169.254.169.254";

/// Additional names in lower case; `*.example.com` matches every name below it.
#[derive(Debug, Default)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(
            names
                .into_iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        )
    }

    /// Reports whether a name without port is answered. Addresses and names of one label cannot be
    /// registered in DNS.
    fn allows(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        if !name.contains('.') || address(name).is_some() {
            return true;
        }
        let name = name.to_ascii_lowercase();
        let is_below = |domain: &str| {
            name.strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
        };
        VENDOR_DOMAINS
            .iter()
            .any(|domain| name == *domain || is_below(domain))
            || self.0.iter().any(|own| match own.strip_prefix("*.") {
                Some(domain) => is_below(domain),
                None => *own == name,
            })
    }
}

fn address(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name)
        .parse()
        .ok()
}

/// The host that a request names, without port; empty if it names none, as HTTP/1.0 allows.
///
/// Two different hosts, a user, or characters that no host name has are errors: another program on
/// the way may have read them differently.
pub(crate) fn requested_host<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<&'a str, &'static str> {
    let mut values = headers.get_all(header::HOST).iter();
    let by_header = match (values.next(), values.next()) {
        (_, Some(_)) => return Err("there are several Host headers"),
        (Some(value), None) => Some(host_of(
            value.to_str().map_err(|_| "the Host header is not ASCII")?,
        )?),
        (None, None) => None,
    };
    let by_uri = uri
        .authority()
        .map(|authority| host_of(authority.as_str()))
        .transpose()?;
    match (by_uri, by_header) {
        (Some(uri), Some(header)) if !uri.eq_ignore_ascii_case(header) => {
            Err("the request names two hosts")
        }
        (uri, header) => Ok(uri.or(header).unwrap_or_default()),
    }
}

/// The host of a request in lower case, with its port if given.
pub(crate) fn host(parts: &Parts) -> String {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let header = || {
        parts
            .headers
            .get(header::HOST)
            .and_then(|value| value.to_str().ok())
    };
    authority
        .or_else(header)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// A host without its port.
pub(crate) fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// What routing looks at: the host of a request and its other parts.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    host: String,
    parts: &'a Parts,
}

impl<'a> Target<'a> {
    pub(crate) fn new(parts: &'a Parts) -> Self {
        Self {
            host: host(parts),
            parts,
        }
    }

    /// The host without its port, in lower case.
    pub(crate) fn name(&self) -> &str {
        without_port(&self.host)
    }

    pub(crate) fn path(&self) -> &'a str {
        self.parts.uri.path()
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.parts.headers.contains_key(name)
    }

    pub(crate) fn parts(&self) -> &'a Parts {
        self.parts
    }
}

fn host_of(authority: &str) -> Result<&str, &'static str> {
    if authority.contains('@') {
        return Err("the host has a user in front");
    }
    let end = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end..].find(':') {
        Some(at) => (&authority[..end + at], Some(&authority[end + at + 1..])),
        None => (authority, None),
    };
    if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        return Err("the host's port is not a number");
    }
    let is_name = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !is_name && (!host.starts_with('[') || address(host).is_none()) {
        return Err("the host is neither a name nor an address");
    }
    Ok(host)
}

/// Rejects requests for other hosts and from web pages of another origin.
pub(crate) async fn guard(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    match forbidden(&hosts, request.uri(), request.headers()) {
        Some(refusal) => {
            if !drain::expects_continue(request.headers()) {
                SharedBody::new(request.into_body()).drain().await;
            }
            refusal.into_response()
        }
        None => next.run(request).await,
    }
}

/// The response of [`guard`] to a request that it rejects.
pub(crate) fn forbidden(
    hosts: &Hosts,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<(StatusCode, String)> {
    let host = match requested_host(uri, headers) {
        Ok(host) => host,
        Err(reason) => {
            return Some((StatusCode::BAD_REQUEST, format!("bad request: {reason}\n")));
        }
    };
    if !hosts.allows(host) {
        let reason = format!(
            "the emulator does not answer under the name {host}, which may be a web page's trick: start it with --allow-host {host} if \
             the name is yours\n"
        );
        return Some((StatusCode::FORBIDDEN, reason));
    }
    // Browsers send it with every request of a page; no other client does.
    let site = headers
        .get("sec-fetch-site")
        .map(header::HeaderValue::as_bytes);
    let foreign = site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    foreign.then(|| {
        (
            StatusCode::FORBIDDEN,
            "requests from web pages of another origin are rejected\n".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str, hosts: &[&str]) -> Result<String, &'static str> {
        let mut request = http::Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        requested_host(&parts.uri, &parts.headers).map(str::to_owned)
    }

    #[test]
    fn only_local_vendor_and_configured_hosts_are_allowed() {
        let hosts = Hosts::new([
            "kms.Example.com".to_owned(),
            "*.svc.cluster.local".to_owned(),
        ]);
        for ours in [
            "",
            "127.0.0.1",
            "[::1]",
            "192.168.1.7",
            "localhost",
            "a.localhost",
            "emulator",
            "host.localhost.",
            "kms.us-east-1.amazonaws.com",
            "abc.vault.azure.net",
            "login.microsoftonline.com",
            "METADATA.google.internal",
            "169.254.169.254",
            "kms.example.com",
            "host.docker.internal",
            "emulator.kmslab.svc.cluster.local",
        ] {
            assert!(hosts.allows(ours), "{ours}");
        }
        for other in [
            "evil.example",
            "www.example.com",
            "svc.cluster.local",
            "localhost.evil.example",
            "evilamazonaws.com",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io",
        ] {
            assert!(!hosts.allows(other), "{other}");
        }
    }

    #[test]
    fn ambiguous_hosts_are_rejected() {
        assert_eq!(of("/", &["127.0.0.1:7600"]), Ok("127.0.0.1".into()));
        assert_eq!(of("/", &["[::1]:7600"]), Ok("[::1]".into()));
        assert_eq!(of("/", &["localhost:"]), Ok("localhost".into()));
        assert_eq!(of("/", &[]), Ok(String::new()));
        assert_eq!(
            of("http://169.254.169.254/x", &["169.254.169.254:80"]),
            Ok("169.254.169.254".into())
        );
        for (uri, hosts) in [
            ("/", &["localhost", "evil.example"][..]),
            ("/", &["localhost", "localhost"]),
            ("http://localhost/", &["evil.example"]),
            ("/", &["user@localhost"]),
            ("/", &["localhost:http"]),
            ("/", &["localhost:99999"]),
            ("/", &["local host"]),
            ("/", &["[localhost]"]),
            ("/", &["::1"]),
            ("/", &["localhost/path"]),
        ] {
            assert!(of(uri, hosts).is_err(), "{uri} {hosts:?}");
        }
    }
}
