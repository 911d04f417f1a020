//! Decryption of DEK sources by a KMS v2 plugin, a cloud, or a file of decrypted seeds.

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
use kmslab_plugin::kek::Deadline;
use kmslab_plugin::kek::Kek;
use kmslab_plugin::kek::aws::AwsKek;
use kmslab_program::file;
use prost::Message as _;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

use crate::etcd::envelope::{self, EnvelopeError};
use crate::etcd::label::parse_label;
use crate::exit::{environment, usage};

/// A plugin responds within the API server's 3 s; this allows for a slow cloud.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

type Source = Result<Zeroizing<Vec<u8>>, String>;

/// The configured backends, tried in the order in which they were added.
#[derive(Default)]
pub struct Decryptors {
    ways: Vec<Backend>,
    seeds: Option<Seeds>,
    /// Includes failures, so that a dead key is used once per DEK source and not once per value.
    known: HashMap<Vec<u8>, Source>,
}

enum Backend {
    Plugin {
        path: PathBuf,
        client: KeyManagementServiceClient<Channel>,
        calls: u64,
    },
    Aws {
        options: AwsOptions,
        keys: HashMap<String, Deadline<AwsKek>>,
    },
    Key(Arc<dyn Kek>),
}

struct Seeds {
    path: PathBuf,
    all: Vec<Zeroizing<Vec<u8>>>,
}

/// An access key of AWS.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credentials {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, secret not shown)", self.id)
    }
}

/// How to reach AWS KMS.
#[derive(Debug, Clone, Default)]
pub struct AwsOptions {
    /// An emulator or another endpoint; `None` means AWS itself.
    pub endpoint_url: Option<String>,
    /// Region of keys whose ARN names none.
    pub region: Option<String>,
    /// CA of the endpoint's certificate.
    pub ca_file: Option<PathBuf>,
    /// Credentials; by default those of the environment, as in any AWS tool.
    pub credentials: Option<Credentials>,
}

/// Names the backends without the decrypted DEK sources.
impl fmt::Debug for Decryptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = self.ways.iter().map(|way| match way {
            Backend::Plugin { path, .. } => path.display().to_string(),
            Backend::Aws { .. } => "aws".to_owned(),
            Backend::Key(kek) => kek.provider().to_owned(),
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

impl Decryptors {
    /// A single cloud key.
    pub fn with_kek(kek: Arc<dyn Kek>) -> Self {
        let mut decryptors = Self::default();
        decryptors.add_kek(kek);
        decryptors
    }

    /// Whether there is no backend.
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
        self.ways.push(Backend::Plugin {
            path,
            client: KeyManagementServiceClient::new(channel),
            calls: 0,
        });
        Ok(())
    }

    /// Adds AWS KMS, for values with kmslab's annotation.
    pub fn add_aws(&mut self, options: AwsOptions) {
        self.ways.push(Backend::Aws {
            options,
            keys: HashMap::new(),
        });
    }

    /// Adds a cloud key, for values with kmslab's annotation.
    pub fn add_kek(&mut self, kek: Arc<dyn Kek>) {
        self.ways.push(Backend::Key(kek));
    }

    /// Adds a file with one decrypted DEK source per line, hex or base64; `#` starts a comment.
    pub fn add_seeds(&mut self, path: &Path) -> anyhow::Result<()> {
        let unusable = |why: String| usage(format!("--dek-seeds {}: {why}", path.display()));
        let text = file::read_text(path, file::MAX_CONFIGURATION_BYTES)
            .map_err(|error| unusable(error.to_string()))?;
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
                unusable(format!("line {} is not a key in hex or base64", number + 1))
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

    /// Decrypts `object`, or returns why no backend can.
    pub async fn decrypt(
        &mut self,
        object: &EncryptedObject,
        etcd_key: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut failures = Vec::new();
        for way in 0..self.ways.len() {
            match self.source(way, object).await {
                Ok(source) => match envelope::decrypt(object, &source, etcd_key) {
                    Ok(plaintext) => return Ok(plaintext),
                    Err(error) => failures.push(explain(&error)),
                },
                Err(reason) => failures.push(reason),
            }
        }
        if let Some(seeds) = &self.seeds {
            let decrypted = seeds
                .all
                .iter()
                .find_map(|seed| envelope::decrypt(object, seed, etcd_key).ok());
            match decrypted {
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
            Backend::Plugin {
                path,
                client,
                calls,
            } => {
                *calls += 1;
                decrypt_with_plugin(path, client, *calls, object).await
            }
            Backend::Aws { options, keys } => decrypt_with_aws(options, keys, object).await,
            Backend::Key(kek) => decrypt_with_kek(kek.as_ref(), object).await,
        };
        self.known.insert(identity, source.clone());
        source
    }
}

/// Possible causes of a tag that does not match; the bytes do not tell which.
fn explain(error: &EnvelopeError) -> String {
    match error {
        EnvelopeError::Authentication => format!(
            "{error}: it was changed, or copied here from another key of etcd, or restored under another --etcd-prefix"
        ),
        other => other.to_string(),
    }
}

async fn decrypt_with_plugin(
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

async fn decrypt_with_kek(kek: &dyn Kek, object: &EncryptedObject) -> Source {
    let label = parse_label(object).filter(|label| label.provider == kek.provider());
    let label = label
        .ok_or_else(|| format!("it has no annotation that names its {} key", kek.provider()))?;
    let decrypted = kek
        .unwrap(&object.encrypted_dek_source, &label.key_version())
        .await;
    decrypted.map_err(|error| error.to_string())
}

async fn decrypt_with_aws(
    options: &AwsOptions,
    keys: &mut HashMap<String, Deadline<AwsKek>>,
    object: &EncryptedObject,
) -> Source {
    let label = parse_label(object).filter(|label| label.provider == "aws").ok_or(
        "it has no annotation that names its AWS key: decrypt it with the plugin that wrote it (--decrypt SOCKET)",
    )?;
    if !keys.contains_key(&label.key) {
        keys.insert(label.key.clone(), kek(options, &label).await?);
    }
    let decrypted = keys[&label.key]
        .unwrap(&object.encrypted_dek_source, &label.key_version())
        .await;
    decrypted.map_err(|error| error.to_string())
}

async fn kek(options: &AwsOptions, label: &Label) -> Result<Deadline<AwsKek>, String> {
    // The label of a multi-Region key has no region; it refers to the replica in the configured
    // region.
    let name = match label.key.splitn(6, ':').collect::<Vec<_>>()[..] {
        [_, _, _, "", _, resource] => resource.trim_start_matches("key/"),
        _ => &label.key,
    };
    // An ARN with a region determines the region.
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
