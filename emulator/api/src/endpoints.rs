//! Addresses of an emulator.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The addresses of an emulator, as `kmslab emulator --format json` prints them on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// `http://127.0.0.1:7600`: AWS and Google; HTTPS on another machine.
    pub http: String,
    /// `https://localhost:7643`: AWS and Google.
    pub https: Option<String>,
    /// `http://127.0.0.1:7680`: proxy for the vendors' host names.
    pub proxy: Option<String>,
    /// `http://127.0.0.1:7690`: admin port.
    pub admin: Option<String>,
    /// CA of HTTPS and proxy, PEM.
    pub ca: Option<PathBuf>,
    /// Azure tenant id.
    #[serde(rename = "azureTenant")]
    pub azure_tenant: String,
    /// Key file of Google's service account with all permissions.
    #[serde(default, rename = "gcpKeyFile")]
    pub gcp_key_file: Option<PathBuf>,
}
