//! Variables with which tools reach the vendors' own host names through the emulator's proxy.

use std::path::Path;

use super::Variables;

/// Other spellings of the variables that are set, which some programs prefer: curl and Python's
/// `urllib` take a name in lowercase first.
const UNSET: &[&str] = &[
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "all_proxy",
    "ALL_PROXY",
];
/// What is not reached through a proxy: the emulator itself.
const DIRECT: &str = "localhost,127.0.0.1";

/// Keeps a proxy of the shell away from the emulator's own ports.
pub(super) fn direct() -> Variables {
    Variables::default().append(&["NO_PROXY", "no_proxy"], DIRECT)
}

/// The proxy for the vendors' own host names, and the CA that they are answered with.
#[derive(Debug, Clone, Copy)]
pub struct ProxyVariables<'a> {
    /// `http://127.0.0.1:PORT`.
    pub proxy: &'a str,
    /// Certificate of the CA.
    pub ca: &'a Path,
}

impl ProxyVariables<'_> {
    /// The proxy. Every other host name is refused by it. `HTTP_PROXY` is for Azure's managed
    /// identity.
    pub fn proxy(self) -> Variables {
        Variables::default()
            .unset(UNSET)
            .set_all(&["HTTPS_PROXY", "HTTP_PROXY"], self.proxy)
            .set("NO_PROXY", DIRECT)
    }

    /// The CA for the Azure CLI and Python.
    pub fn python_ca(self) -> Variables {
        self.ca(&["REQUESTS_CA_BUNDLE"])
    }

    /// The CA for Go, OpenSSL and Rust, and for curl.
    pub fn openssl_ca(self) -> Variables {
        self.ca(&["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
    }

    /// The CA for Node.js.
    pub fn node_ca(self) -> Variables {
        self.ca(&["NODE_EXTRA_CA_CERTS"])
    }

    /// Proxy and CA for gRPC in C, as in Google's client for Python, and in Node.js.
    pub fn grpc(self) -> Variables {
        self.ca(&["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"])
            .set("grpc_proxy", self.proxy)
            .set("no_grpc_proxy", DIRECT)
    }

    /// All of them.
    pub fn variables(self) -> Variables {
        self.proxy()
            .and(self.python_ca())
            .and(self.openssl_ca())
            .and(self.node_ca())
            .and(self.grpc())
    }

    fn ca(self, names: &[&'static str]) -> Variables {
        Variables::default().set_all(names, self.ca.display())
    }
}
