//! The flags, variables and files of a plugin that uses it.

/// Settings of a plugin for a lab's key: the subcommand and its flags, without those that all
/// clouds share.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Arguments: `aws --key …`.
    pub args: Vec<String>,
    /// Variables for the vendor's SDK that are not secret.
    pub variables: Vec<(&'static str, String)>,
    /// Credentials as variables for the vendor's SDK; empty if it reads them from a file only.
    pub secrets: Vec<(&'static str, String)>,
    /// The credentials as a file for nodes, whose manifests everyone can read.
    pub file: SecretFile,
}

/// A file with credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// File name without directory.
    pub name: &'static str,
    /// Content of the file.
    pub content: String,
    /// How the plugin is told its path.
    pub reference: FileReference,
}

/// How a file is referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileReference {
    /// By a flag of the plugin.
    Flag(&'static str),
    /// By a variable that the vendor's SDK reads.
    Variable(&'static str),
}

impl PluginSettings {
    /// Flags and variables of a plugin whose credentials are in the file at `path`.
    pub fn with_secret_file(&self, path: &str) -> (Vec<String>, Vec<(&'static str, String)>) {
        let (mut args, mut variables) = (self.args.clone(), self.variables.clone());
        match self.file.reference {
            FileReference::Flag(flag) => args.push(format!("{flag}={path}")),
            FileReference::Variable(name) => variables.push((name, path.to_owned())),
        }
        (args, variables)
    }
}

impl SecretFile {
    /// Path of the file on a node.
    pub fn node_path(&self) -> String {
        format!("/etc/kmslab/{}", self.name)
    }
}

impl std::fmt::Debug for PluginSettings {
    /// Omits the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginSettings")
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SecretFile {
    /// Omits the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
