//! Transformers between plaintext and stored bytes: the envelope of a KMS v2 provider, and the
//! provider list of a resource.
//!
//! Follows `envelopeTransformer` and `prefixTransformers` in k8s.io/apiserver v0.36.3,
//! `pkg/storage/value`.

use std::path::Path;
use std::sync::Arc;

use kmslab_keycore::Clock;
use kmslab_kmsv2::socket::DecryptRequest;
use kmslab_kmsv2::stored::{self, EncryptedObject};
use zeroize::Zeroizing;

use super::cache::{CacheKey, DekCache, DekSource};
use super::client::PluginClient;
use super::config::{Config, Sabotage};
use super::random::Random;
use super::state::{Probe, SEED};
use crate::etcd::envelope;

/// Prefix of every encrypted value.
const ENCRYPTED_PREFIX: &[u8] = b"k8s:enc:";

/// A value read from etcd.
#[derive(Debug)]
pub(crate) struct Decrypted {
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    /// A no-op update rewrites it.
    pub(crate) stale: bool,
}

/// A KMS v2 provider of a running server: its probe and its cache of decrypted DEK sources.
#[derive(Debug)]
pub(crate) struct Kms {
    provider: String,
    client: Arc<PluginClient>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    cache: DekCache,
    sabotage: Sabotage,
    pub(crate) probe: Probe,
}

impl Kms {
    pub(crate) fn new(provider: &str, socket: &Path, config: &Config, random: Arc<Random>) -> Self {
        let client = Arc::new(PluginClient::new(socket.to_owned(), config.timeout));
        let clock: Arc<dyn Clock> = config.clock.clone();
        let probe = Probe::new(provider, client.clone(), clock.clone(), random.clone());
        let (provider, sabotage) = (provider.to_owned(), config.sabotage);
        Self {
            provider,
            client,
            clock,
            random,
            cache: DekCache::default(),
            sabotage,
            probe,
        }
    }

    /// Number of decrypted DEK sources: upstream's metric `dek_source_cache_size`.
    pub(crate) fn cache_size(&self) -> usize {
        self.cache.len()
    }

    fn aad<'a>(&self, key: &'a str) -> &'a [u8] {
        if self.sabotage.aad {
            b""
        } else {
            key.as_bytes()
        }
    }

    async fn read(&self, key: &str, payload: &[u8]) -> Result<Decrypted, String> {
        let object = stored::decode(payload).map_err(|err| err.to_string())?;
        let state = self.probe.state()?;
        let source = self.dek_source(&object).await?;
        let decrypted = envelope::decrypt(&object, &source, self.aad(key));
        // Values from before the sabotage stay readable.
        let decrypted = if self.sabotage.aad {
            decrypted.or_else(|_| envelope::decrypt(&object, &source, key.as_bytes()))
        } else {
            decrypted
        };
        let plaintext = decrypted.map_err(|err| err.to_string())?;
        let stale = object.key_id != state.key_id || object.encrypted_dek_source_type != SEED;
        Ok(Decrypted { plaintext, stale })
    }

    /// The decrypted DEK source of a value, from the cache or the plugin.
    async fn dek_source(&self, object: &EncryptedObject) -> Result<DekSource, String> {
        let kind = object.encrypted_dek_source_type;
        let key = CacheKey::new(
            kind,
            &object.encrypted_dek_source,
            &object.key_id,
            &object.annotations,
        );
        if let Some(source) = self.cache.get(&key) {
            return Ok(source);
        }
        let request = DecryptRequest {
            ciphertext: object.encrypted_dek_source.clone(),
            uid: self.random.uuid(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        };
        let plaintext = self
            .client
            .decrypt(&request)
            .await
            .map_err(|err| format!("failed to decrypt DEK, error: {err}"))?;
        match plaintext.len() {
            len if kind == SEED && len < envelope::DEK_SOURCE_LEN => {
                return Err(format!("invalid seed length {len} used for key generation"));
            }
            len if kind != SEED && ![16, 24, 32].contains(&len) => {
                return Err(format!("crypto/aes: invalid key size {len}"));
            }
            _ => {}
        }
        let source = Arc::new(plaintext);
        self.cache.set(key, source.clone(), self.clock.now());
        Ok(source)
    }

    /// Fails if a write would fail now.
    pub(crate) fn check_write(&self) -> Result<(), String> {
        let state = self.probe.state()?;
        if self.sabotage.expiry {
            Ok(())
        } else {
            state.check_write(self.clock.now())
        }
    }

    /// Encrypts with the current seed, without the plugin.
    fn write(&self, key: &str, plaintext: &[u8]) -> Result<Vec<u8>, String> {
        self.check_write()?;
        let state = self.probe.state()?;
        // Reads of what this seed encrypted need no plugin. Setting also removes expired entries.
        self.cache.set(
            state.cache_key,
            Arc::new(Zeroizing::new(state.seed.to_vec())),
            self.clock.now(),
        );
        let (info, nonce) = (self.random.array(), self.random.array());
        let object = EncryptedObject {
            encrypted_data: envelope::encrypt_with_seed(
                &state.seed,
                &info,
                &nonce,
                self.aad(key),
                plaintext,
            ),
            key_id: state.key_id.clone(),
            encrypted_dek_source: state.encrypted_dek_source.clone(),
            annotations: state.annotations.clone(),
            encrypted_dek_source_type: SEED,
        };
        stored::encode(&self.provider, &object).map_err(|err| err.to_string())
    }
}

/// A provider in use.
#[derive(Debug, Clone)]
pub(crate) enum ChainProvider {
    Kms(Arc<Kms>),
    Identity,
}

/// The provider list of a resource: the first one writes, all read.
#[derive(Debug, Clone)]
pub(crate) enum ProviderChain {
    /// The resource is not in the EncryptionConfiguration.
    NotConfigured,
    /// Its list.
    Configured(Vec<ChainProvider>),
}

impl ProviderChain {
    /// Tries every provider whose prefix matches; values of another provider than the first are
    /// stale.
    pub(crate) async fn read(&self, key: &str, value: &[u8]) -> Result<Decrypted, String> {
        let plain = |stale| Decrypted {
            plaintext: Zeroizing::new(value.to_vec()),
            stale,
        };
        let encrypted = value.starts_with(ENCRYPTED_PREFIX);
        let layers = match self {
            Self::NotConfigured if encrypted => {
                return Err("identity transformer tried to read encrypted data".into());
            }
            Self::NotConfigured => return Ok(plain(false)),
            Self::Configured(layers) => layers,
        };
        let mut rejected = None;
        for (position, layer) in layers.iter().enumerate() {
            match layer {
                // Identity's own error is not reported: a later provider may match.
                ChainProvider::Identity if encrypted => {}
                ChainProvider::Identity => return Ok(plain(position != 0)),
                ChainProvider::Kms(kms) => {
                    let Some((_, payload)) =
                        stored::split(value).filter(|(provider, _)| *provider == kms.provider)
                    else {
                        continue;
                    };
                    match kms.read(key, payload).await {
                        Ok(decrypted) => {
                            let stale = (decrypted.stale || position != 0) && !kms.sabotage.stale;
                            return Ok(Decrypted { stale, ..decrypted });
                        }
                        Err(err) => rejected = Some(err),
                    }
                }
            }
        }
        Err(rejected.unwrap_or_else(|| "no matching prefix found".into()))
    }

    /// The value to store under `key`.
    pub(crate) fn write(&self, key: &str, plaintext: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::NotConfigured => Ok(plaintext.to_vec()),
            Self::Configured(layers) => match layers.first() {
                Some(ChainProvider::Kms(kms)) => kms.write(key, plaintext),
                Some(ChainProvider::Identity) | None => Ok(plaintext.to_vec()),
            },
        }
    }
}
