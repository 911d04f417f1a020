//! How an emulator is reached, and what a plugin is told about its key: flags, variables, a file.

use std::path::PathBuf;

use serde::Deserialize;

/// The addresses of an emulator, as its own command prints them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reach {
    /// `http://127.0.0.1:7600`: AWS and Google; over HTTPS where that is another machine's.
    pub http: String,
    /// `https://localhost:7643`: AWS and Google.
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

/// What starts a plugin on a lab's key: the subcommand and its flags, without those that every
/// cloud has.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// `aws --key …`.
    pub args: Vec<String>,
    /// What else the vendor's SDK reads from the environment, and everybody may see.
    pub variables: Vec<(&'static str, String)>,
    /// Credentials, as the vendor's SDKs read them from the environment; none where they read a
    /// file only.
    pub secrets: Vec<(&'static str, String)>,
    /// The same for a node, where what stands in a manifest can be read by everybody.
    pub file: SecretFile,
}

/// Credentials in a file.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Its name, without a directory.
    pub name: &'static str,
    /// What.
    pub content: String,
    /// How the plugin learns where it is.
    pub named_by: NamedBy,
}

/// What names a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// A flag of the plugin.
    Flag(&'static str),
    /// A variable, which the vendor's SDK reads.
    Variable(&'static str),
}

impl PluginSettings {
    /// Flags and variables of a plugin whose credentials are in the file at `path`.
    pub fn by_file(&self, path: &str) -> (Vec<String>, Vec<(&'static str, String)>) {
        let (mut args, mut variables) = (self.args.clone(), self.variables.clone());
        match self.file.named_by {
            NamedBy::Flag(flag) => args.push(format!("{flag}={path}")),
            NamedBy::Variable(name) => variables.push((name, path.to_owned())),
        }
        (args, variables)
    }
}

impl SecretFile {
    /// Where it lies on a node.
    pub fn on_node(&self) -> String {
        format!("/etc/kmslab/{}", self.name)
    }
}

impl std::fmt::Debug for PluginSettings {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginSettings")
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SecretFile {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
