//! Ways to the plaintext of a DEK source: a KMS v2 plugin, the cloud itself, or a file of seeds.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kmslab_kmsv2::socket::DecryptRequest;
use kmslab_kmsv2::socket::key_management_service_client::KeyManagementServiceClient;
use kmslab_kmsv2::stored::EncryptedObject;
use kmslab_plugin::Label;
use kmslab_plugin::kek::Kek;
use kmslab_plugin::kek::aws::AwsKek;
use kmslab_program::file;
use prost::Message as _;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

use crate::cloud::Credentials;
use crate::etcd::envelope::{self, EnvelopeError};
use crate::etcd::keytable::label_of;
use crate::exit::{environment, usage};

/// A plugin that answers at all answers within the API server's 3 s; this leaves room for a slow
/// cloud.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

type Source = Result<Zeroizing<Vec<u8>>, String>;

/// All ways that were given, tried in the order of their adding.
#[derive(Default)]
pub struct Openers {
    ways: Vec<Way>,
    seeds: Option<Seeds>,
    /// Failures too, so that a dead key is asked once per DEK source and not once per value.
    known: HashMap<Vec<u8>, Source>,
}

enum Way {
    Plugin {
        path: PathBuf,
        client: KeyManagementServiceClient<Channel>,
        calls: u64,
    },
    Aws {
        options: AwsOptions,
        keys: HashMap<String, AwsKek>,
    },
    Key(Arc<dyn Kek>),
}

struct Seeds {
    path: PathBuf,
    all: Vec<Zeroizing<Vec<u8>>>,
}

/// How AWS KMS is reached.
#[derive(Debug, Clone, Default)]
pub struct AwsOptions {
    /// An emulator or another endpoint; `None`: AWS itself.
    pub endpoint_url: Option<String>,
    /// For keys whose ARN names no region.
    pub region: Option<String>,
    /// The endpoint's CA.
    pub ca_file: Option<PathBuf>,
    /// Who asks; without it, whom the environment names, as in any AWS tool.
    pub credentials: Option<Credentials>,
}

/// Names the ways, holds back what they found.
impl fmt::Debug for Openers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = self.ways.iter().map(|way| match way {
            Way::Plugin { path, .. } => path.display().to_string(),
            Way::Aws { .. } => "aws".to_owned(),
            Way::Key(kek) => kek.provider().to_owned(),
        });
        f.debug_struct("Openers")
            .field("ways", &ways.collect::<Vec<_>>())
            .field(
                "seeds",
                &self.seeds.as_ref().map_or(0, |seeds| seeds.all.len()),
            )
            .finish_non_exhaustive()
    }
}

impl Openers {
    /// One key in a cloud and no other way.
    pub fn of_key(kek: Arc<dyn Kek>) -> Self {
        let mut openers = Self::default();
        openers.add_key(kek);
        openers
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty() && self.seeds.is_none()
    }

    /// Adds the KMS v2 plugin that listens on `path`.
    pub async fn add_plugin(&mut self, path: &Path) -> anyhow::Result<()> {
        let path = std::path::absolute(path)
            .map_err(|error| usage(format!("--decrypt {}: {error}", path.display())))?;
        let unreachable = |error: &dyn fmt::Display| {
            environment(format!(
                "no plugin answers on {}: {error}; start it, or name its socket",
                path.display()
            ))
        };
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display()))
            .map_err(|error| unreachable(&error))?;
        let channel = endpoint
            .connect_timeout(PLUGIN_TIMEOUT)
            .connect()
            .await
            .map_err(|error| {
                unreachable(
                    &std::error::Error::source(&error)
                        .map_or_else(|| error.to_string(), ToString::to_string),
                )
            })?;
        self.ways.push(Way::Plugin {
            path,
            client: KeyManagementServiceClient::new(channel),
            calls: 0,
        });
        Ok(())
    }

    /// Adds AWS KMS, for values that carry kmslab's annotation.
    pub fn add_aws(&mut self, options: AwsOptions) {
        self.ways.push(Way::Aws {
            options,
            keys: HashMap::new(),
        });
    }

    /// Adds one key in a cloud, for values that carry kmslab's annotation.
    pub fn add_key(&mut self, kek: Arc<dyn Kek>) {
        self.ways.push(Way::Key(kek));
    }

    /// Adds a file with one decrypted DEK source a line, hex or base64; `#` begins a comment.
    pub fn add_seeds(&mut self, path: &Path) -> anyhow::Result<()> {
        let unusable = |why: String| usage(format!("--dek-seeds {}: {why}", path.display()));
        let bytes = file::read(path, file::MAX_CONFIGURATION_BYTES)
            .map_err(|error| unusable(error.to_string()))?;
        let text = str::from_utf8(&bytes).map_err(|error| unusable(error.to_string()))?;
        let mut all = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let seed = hex::decode(line)
                .ok()
                .or_else(|| STANDARD.decode(line).ok())
                .filter(|seed| seed.len() >= 16);
            let seed = seed.ok_or_else(|| {
                unusable(format!("line {} is no key in hex or base64", number + 1))
            })?;
            all.push(Zeroizing::new(seed));
        }
        if all.is_empty() {
            return Err(unusable(
                "it holds no keys: one a line, hex or base64".to_owned(),
            ));
        }
        self.seeds = Some(Seeds {
            path: path.to_owned(),
            all,
        });
        Ok(())
    }

    /// The plaintext of `object`, or why none of the ways leads to it.
    pub async fn open(
        &mut self,
        object: &EncryptedObject,
        etcd_key: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut failures = Vec::new();
        for way in 0..self.ways.len() {
            match self.source(way, object).await {
                Ok(source) => match envelope::open(object, &source, etcd_key) {
                    Ok(plaintext) => return Ok(plaintext),
                    Err(error) => failures.push(explain(&error)),
                },
                Err(reason) => failures.push(reason),
            }
        }
        if let Some(seeds) = &self.seeds {
            let opened = seeds
                .all
                .iter()
                .find_map(|seed| envelope::open(object, seed, etcd_key).ok());
            match opened {
                Some(plaintext) => return Ok(plaintext),
                None => failures.push(format!(
                    "none of the {} keys in {} opens it",
                    seeds.all.len(),
                    seeds.path.display()
                )),
            }
        }
        failures.dedup();
        Err(failures.join("; "))
    }

    async fn source(&mut self, way: usize, object: &EncryptedObject) -> Source {
        let identity = EncryptedObject {
            encrypted_data: Vec::new(),
            ..object.clone()
        };
        let identity = [
            &[u8::try_from(way).unwrap_or(u8::MAX)],
            &identity.encode_to_vec()[..],
        ]
        .concat();
        if let Some(known) = self.known.get(&identity) {
            return known.clone();
        }
        let source = match &mut self.ways[way] {
            Way::Plugin {
                path,
                client,
                calls,
            } => {
                *calls += 1;
                by_plugin(path, client, *calls, object).await
            }
            Way::Aws { options, keys } => by_aws(options, keys, object).await,
            Way::Key(kek) => by_key(kek.as_ref(), object).await,
        };
        self.known.insert(identity, source.clone());
        source
    }
}

/// What a failed tag can mean, since the bytes alone do not tell which.
fn explain(error: &EnvelopeError) -> String {
    match error {
        EnvelopeError::Authentication => format!(
            "{error}: it was changed, or copied here from another key of etcd, or restored under another --etcd-prefix"
        ),
        other => other.to_string(),
    }
}

async fn by_plugin(
    path: &Path,
    client: &mut KeyManagementServiceClient<Channel>,
    call: u64,
    object: &EncryptedObject,
) -> Source {
    let mut request = Request::new(DecryptRequest {
        ciphertext: object.encrypted_dek_source.clone(),
        uid: format!("kmslab-inspect-{call}"),
        key_id: object.key_id.clone(),
        annotations: object.annotations.clone(),
    });
    request.set_timeout(PLUGIN_TIMEOUT);
    match client.decrypt(request).await {
        Ok(answer) => Ok(Zeroizing::new(answer.into_inner().plaintext)),
        Err(status) => Err(format!(
            "plugin on {}: {:?}: {}",
            path.display(),
            status.code(),
            status.message()
        )),
    }
}

async fn by_key(kek: &dyn Kek, object: &EncryptedObject) -> Source {
    let label = label_of(object).filter(|label| label.provider == kek.provider());
    let label = label
        .ok_or_else(|| format!("it has no annotation that names its {} key", kek.provider()))?;
    let opened = kek
        .unwrap(&object.encrypted_dek_source, &label.key_version())
        .await;
    opened.map_err(|error| error.to_string())
}

async fn by_aws(
    options: &AwsOptions,
    keys: &mut HashMap<String, AwsKek>,
    object: &EncryptedObject,
) -> Source {
    let label = label_of(object).filter(|label| label.provider == "aws").ok_or(
        "it has no annotation that names its AWS key: decrypt it with the plugin that wrote it (--decrypt SOCKET)",
    )?;
    if !keys.contains_key(&label.key) {
        keys.insert(label.key.clone(), kek(options, &label).await?);
    }
    let opened = keys[&label.key]
        .unwrap(&object.encrypted_dek_source, &label.key_version())
        .await;
    opened.map_err(|error| error.to_string())
}

async fn kek(options: &AwsOptions, label: &Label) -> Result<AwsKek, String> {
    // A multi-region key's label has no region; its id means the replica where we are.
    let name = match label.key.splitn(6, ':').collect::<Vec<_>>()[..] {
        [_, _, _, "", _, resource] => resource.trim_start_matches("key/"),
        _ => &label.key,
    };
    // An ARN with a region brings its own, and refuses another.
    let region = (name != label.key)
        .then(|| options.region.clone())
        .flatten();
    let mut builder = AwsKek::builder(name)
        .region(region)
        .endpoint_url(options.endpoint_url.clone())
        .ca_file(options.ca_file.clone())
        .call_timeout(PLUGIN_TIMEOUT);
    if let Some(Credentials { id, secret }) = &options.credentials {
        builder = builder.credentials(id, secret);
    }
    builder.build().await.map_err(|error| error.to_string())
}
