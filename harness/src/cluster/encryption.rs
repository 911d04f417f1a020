//! What an API server encrypts and by whom: the part of an EncryptionConfiguration that all
//! clusters here share.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// An entry of a provider list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// A KMS v2 plugin.
    Kms {
        /// `kms.name`, part of every value's prefix. Unique in the list.
        name: String,
        /// The plugin's unix socket.
        socket: PathBuf,
    },
    /// A KMS v1 plugin, which API servers from 1.29 on use with a feature gate only. Its name may
    /// contain colons.
    KmsV1 {
        /// `kms.name`.
        name: String,
        /// The plugin's unix socket.
        socket: PathBuf,
    },
    /// Keys in the configuration itself.
    Local(LocalProvider),
    /// No encryption; as a reader, for values from before encryption was enabled.
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

/// A provider with keys in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalProvider {
    /// The cipher.
    pub cipher: Cipher,
    /// The first key writes, all read.
    pub keys: Vec<LocalKey>,
}

/// Ciphers of providers with keys in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-CBC with PKCS#7: keys of 16, 24 or 32 bytes.
    Aescbc,
    /// AES-GCM with random nonces: keys of 16, 24 or 32 bytes.
    Aesgcm,
    /// XSalsa20 and Poly1305: keys of 32 bytes.
    Secretbox,
}

/// A key of such a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalKey {
    /// Part of every value's prefix, after the cipher's name. k3s and RKE2 use timestamps, which
    /// contain colons.
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

/// A rule: these resources are encrypted with this list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `secrets`, `widgets.example.com`, `*.example.com`, `*.` (the core group), `*.*`.
    pub resources: Vec<String>,
    /// The first provider writes, all read.
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

    /// Nothing is encrypted: shows that a search for plaintext finds it.
    pub fn identity(resources: Vec<String>) -> Self {
        Self {
            resources,
            providers: vec![Provider::Identity],
        }
    }
}
