//! What an API server encrypts, and by whom: the part of an EncryptionConfiguration that clusters
//! here have in common.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

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
    /// A plugin of the older KMS v1, which API servers from 1.29 on serve with a feature gate
    /// alone. Its name may have colons.
    KmsV1 {
        /// `kms.name`.
        name: String,
        /// The plugin's unix socket.
        socket: PathBuf,
    },
    /// Keys in the configuration itself.
    Local(Local),
    /// No encryption: as a reader, what was stored before encryption was switched on.
    Identity,
}

impl Provider {
    /// A KMS v2 plugin.
    pub fn kms(name: impl Into<String>, socket: impl Into<PathBuf>) -> Self {
        Self::Kms {
            name: name.into(),
            socket: socket.into(),
        }
    }
}

/// A provider whose keys are in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// How values are encrypted.
    pub cipher: Cipher,
    /// The first writes, all read.
    pub keys: Vec<LocalKey>,
}

/// What the API server encrypts with where it has the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-CBC with PKCS#7: keys of 16, 24 or 32 bytes.
    Aescbc,
    /// AES-GCM with random nonces: keys of 16, 24 or 32 bytes.
    Aesgcm,
    /// XSalsa20 and Poly1305: keys of 32 bytes.
    Secretbox,
}

/// One key of such a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalKey {
    /// Stands in front of every value, behind the name of the cipher. k3s and RKE2 have times in
    /// it, and so colons.
    pub name: String,
    /// The key.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
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
    pub fn kms(
        name: impl Into<String>,
        socket: impl Into<PathBuf>,
        resources: Vec<String>,
    ) -> Self {
        Self {
            resources,
            providers: vec![Provider::kms(name, socket), Provider::Identity],
        }
    }

    /// Whether a provider is a KMS v1 plugin.
    pub fn has_kms_v1(&self) -> bool {
        self.providers
            .iter()
            .any(|provider| matches!(provider, Provider::KmsV1 { .. }))
    }

    /// Nothing is encrypted: shows that what is searched for would be found.
    pub fn identity(resources: Vec<String>) -> Self {
        Self {
            resources,
            providers: vec![Provider::Identity],
        }
    }
}
