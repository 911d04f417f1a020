//! What an API server encrypts, and by whom: the part of an EncryptionConfiguration that clusters here have in common.

use std::path::PathBuf;

/// One entry of a provider list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// A KMS v2 plugin.
    Kms {
        /// `kms.name`, which stands in front of every value. No two entries have the same.
        name: String,
        /// The plugin's unix socket.
        socket: PathBuf,
    },
    /// No encryption: as a reader, what was stored before encryption was switched on.
    Identity,
}

impl Provider {
    /// A KMS v2 plugin.
    pub fn kms(name: impl Into<String>, socket: impl Into<PathBuf>) -> Self {
        Self::Kms { name: name.into(), socket: socket.into() }
    }
}

/// One rule: for these resources, this list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `secrets`, `widgets.example.com`, `*.example.com`, `*.` (the core group), `*.*`.
    pub resources: Vec<String>,
    /// The first writes, all read.
    pub providers: Vec<Provider>,
}

impl Encryption {
    /// A plugin writes; plaintext is still read.
    pub fn kms(name: impl Into<String>, socket: impl Into<PathBuf>, resources: Vec<String>) -> Self {
        Self { resources, providers: vec![Provider::kms(name, socket), Provider::Identity] }
    }

    /// Nothing is encrypted: shows that what is searched for would be found.
    pub fn identity(resources: Vec<String>) -> Self {
        Self { resources, providers: vec![Provider::Identity] }
    }
}
