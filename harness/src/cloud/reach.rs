//! How an emulator is reached, and what a plugin is told about its key: flags, variables, a file.

use std::path::PathBuf;

use serde::Deserialize;

/// The addresses of an emulator, as its own command prints them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reach {
    /// `http://127.0.0.1:7600`: AWS; over HTTPS where that is another machine's.
    pub http: String,
    /// `https://localhost:7643`: AWS.
    pub https: Option<String>,
    /// `http://127.0.0.1:7680`: the vendors' own names.
    pub proxy: Option<String>,
    /// The CA of both, PEM.
    pub ca: Option<PathBuf>,
    /// The admin port.
    pub admin: String,
    /// Azure's tenant.
    #[serde(rename = "azureTenant")]
    pub azure_tenant: String,
}

/// What starts a plugin on a lab's key: the subcommand and its flags, without those that every cloud has.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// `aws --key …`.
    pub args: Vec<String>,
    /// Credentials, as the vendor's SDKs read them from the environment.
    pub secrets: Vec<(&'static str, String)>,
    /// The same for a node, where what stands in a manifest can be read by everybody.
    pub file: SecretFile,
}

/// Credentials in a file of the node.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Where, on the node.
    pub path: &'static str,
    /// What.
    pub content: String,
    /// Flags that name it.
    pub args: Vec<String>,
    /// Variables that name it.
    pub variables: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for PluginSettings {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginSettings").field("args", &self.args).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SecretFile {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}
