//! A small client of etcd's v3 API: ranges at one revision, single writes, and snapshots.
//!
//! It works below the API server, with full keys (`/registry/…`) and stored bytes.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::bbolt::Database;
use super::r#gen::etcdserverpb as pb;
use super::r#gen::mvccpb::KeyValue;
use super::history::History;
use super::{Etcd, Range, Snapshot, Stored};

mod pages;
mod snapshot;
mod spacing;
mod transport;

pub use transport::TlsFiles;

/// How often a range restarts when a compaction removes its revision.
pub const MAX_COMPACTED_RETRIES: usize = 3;
/// Timeout of a call, or of one message of a snapshot.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The limit of etcd's own client: pages have no other.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// Errors of the client.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The text is not an endpoint.
    #[error(
        "{endpoint:?} is not an etcd endpoint: use http://HOST:PORT, https://HOST:PORT, unix:///PATH or unixs:///PATH ({reason})"
    )]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate or key file cannot be used.
    #[error("{file} for etcd's TLS: {reason}")]
    Tls {
        /// Path of the file, or what is missing.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The endpoint cannot be connected to.
    #[error("etcd at {endpoint} cannot be reached: {reason}")]
    Connect {
        /// The endpoint.
        endpoint: String,
        /// The errors, outermost first.
        reason: String,
    },
    /// etcd returned an error or did not respond.
    #[error("etcd at {endpoint}, {call}: {} ({:?})", status.message(), status.code())]
    Call {
        /// The endpoint.
        endpoint: String,
        /// Call and key.
        call: String,
        /// The status.
        status: Box<Status>,
    },
    /// The snapshot is not what etcd sent.
    #[error("snapshot of etcd at {endpoint}: {reason}; take it again")]
    Snapshot {
        /// The endpoint.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The snapshot's file cannot be written.
    #[error("snapshot file {path}: {source}")]
    File {
        /// Path of the file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
}

impl EtcdError {
    /// Whether a compaction removed the revision of a range.
    pub fn is_compacted(&self) -> bool {
        matches!(self, Self::Call { status, .. } if status.code() == Code::OutOfRange)
    }
}

/// A connection to an etcd server.
#[derive(Debug, Clone)]
pub struct EtcdClient {
    endpoint: String,
    kv: pb::kv_client::KvClient<Channel>,
    maintenance: pb::maintenance_client::MaintenanceClient<Channel>,
}

/// Status of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Version, such as `3.6.16`.
    pub version: String,
    /// Size of the database file in bytes.
    pub database_bytes: i64,
    /// Newest revision.
    pub revision: i64,
}

impl EtcdClient {
    /// Connects to `http://HOST:PORT`, `https://HOST:PORT` (without the system's CAs: see
    /// [`TlsFiles`]), `unix:///PATH` or, with TLS, `unixs:///PATH`, whose certificate must be for
    /// the name of the socket's file.
    pub async fn connect(endpoint: &str) -> Result<Self, EtcdError> {
        Self::connect_with(endpoint, &TlsFiles::default()).await
    }

    /// Connects with a CA and, if etcd requires it, a client certificate.
    pub async fn connect_with(endpoint: &str, tls: &TlsFiles) -> Result<Self, EtcdError> {
        let channel = transport::channel(endpoint, tls).await?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            kv: pb::kv_client::KvClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            maintenance: pb::maintenance_client::MaintenanceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        })
    }

    /// Returns version, size and revision; the cheapest way to check that etcd responds.
    pub async fn status(&self) -> Result<ServerStatus, EtcdError> {
        let answer = self
            .maintenance
            .clone()
            .status(request(pb::StatusRequest {}))
            .await;
        let status = answer
            .map_err(|status| self.failed("Status", status))?
            .into_inner();
        let revision = revision(status.header.as_ref());
        Ok(ServerStatus {
            version: status.version,
            database_bytes: status.db_size,
            revision,
        })
    }

    /// Writes `value` if the key is still at `mod_revision` (0: does not exist). Returns the new
    /// revision, or `None` if the key has changed.
    pub async fn put_if_unchanged(
        &self,
        key: &str,
        value: &[u8],
        mod_revision: i64,
    ) -> Result<Option<i64>, EtcdError> {
        let unchanged = pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Mod.into(),
            key: key.into(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(mod_revision)),
            ..Default::default()
        };
        let put = pb::PutRequest {
            key: key.into(),
            value: value.into(),
            ..Default::default()
        };
        let put = pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(put)),
        };
        let txn = pb::TxnRequest {
            compare: vec![unchanged],
            success: vec![put],
            failure: Vec::new(),
        };
        let answer = self.kv.clone().txn(request(txn)).await;
        let answer = answer
            .map_err(|status| self.failed(&format!("Txn on {key}"), status))?
            .into_inner();
        Ok(answer.succeeded.then(|| revision(answer.header.as_ref())))
    }

    /// Returns the database as etcd streams it, after verifying and removing its checksum.
    pub async fn snapshot(&self) -> Result<Vec<u8>, EtcdError> {
        let mut bytes = snapshot::receive(self).await?;
        bytes.truncate(bytes.len() - snapshot::CHECKSUM_LEN);
        Ok(bytes)
    }

    /// Writes a snapshot to `path` atomically, with its checksum, as `etcdctl snapshot save` does.
    /// Returns its size in bytes.
    pub async fn snapshot_to(&self, path: &Path) -> Result<u64, EtcdError> {
        let bytes = snapshot::receive(self).await?;
        snapshot::write(path, &bytes)
            .await
            .map_err(|source| EtcdError::File {
                path: path.display().to_string(),
                source,
            })?;
        Ok(bytes.len() as u64)
    }

    async fn range_once(&self, prefix: &str) -> Result<Range, EtcdError> {
        let (mut pages, mut items) = (self.pages(prefix), Vec::new());
        while let Some(page) = pages.next().await? {
            items.extend(page.into_iter().map(Stored::from));
        }
        Ok(Range {
            revision: pages.revision(),
            items,
        })
    }

    fn failed(&self, call: &str, status: Status) -> EtcdError {
        EtcdError::Call {
            endpoint: self.endpoint.clone(),
            call: call.to_owned(),
            status: Box::new(status),
        }
    }
}

#[async_trait]
impl Etcd for EtcdClient {
    async fn range(&self, prefix: &str) -> anyhow::Result<Range> {
        let mut left = MAX_COMPACTED_RETRIES;
        loop {
            left -= 1;
            match self.range_once(prefix).await {
                // The pinned revision was compacted between two pages; start again at the newest.
                Err(error) if error.is_compacted() && left > 0 => {}
                done => return Ok(done?),
            }
        }
    }

    async fn get(&self, key: &str) -> anyhow::Result<Option<Stored>> {
        let range = pb::RangeRequest {
            key: key.into(),
            ..Default::default()
        };
        let answer = self.kv.clone().range(request(range)).await;
        let answer = answer
            .map_err(|status| self.failed(&format!("Range of {key}"), status))?
            .into_inner();
        Ok(answer.kvs.into_iter().next().map(Stored::from))
    }

    async fn put(&self, key: &str, value: &[u8]) -> anyhow::Result<i64> {
        let put = pb::PutRequest {
            key: key.into(),
            value: value.into(),
            ..Default::default()
        };
        let answer = self.kv.clone().put(request(put)).await;
        let answer = answer.map_err(|status| self.failed(&format!("Put of {key}"), status))?;
        Ok(revision(answer.into_inner().header.as_ref()))
    }

    async fn delete(&self, key: &str) -> anyhow::Result<bool> {
        let delete = pb::DeleteRangeRequest {
            key: key.into(),
            ..Default::default()
        };
        let answer = self.kv.clone().delete_range(request(delete)).await;
        let answer = answer.map_err(|status| self.failed(&format!("Delete of {key}"), status))?;
        Ok(answer.into_inner().deleted > 0)
    }

    async fn database(&self) -> anyhow::Result<Vec<u8>> {
        Ok(EtcdClient::snapshot(self).await?)
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let database = self.database().await?;
        let history = History::read(&Database::parse(database.clone())?)?;
        Ok(Snapshot { database, history })
    }
}

impl From<KeyValue> for Stored {
    fn from(kv: KeyValue) -> Self {
        Self {
            // Kubernetes writes UTF-8 keys only; other keys are shown with U+FFFD.
            key: String::from_utf8(kv.key)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
        }
    }
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// The first key that does not begin with `prefix`; a zero byte (all later keys) if there is none.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(at) => {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            end
        }
        None => vec![0],
    }
}

/// etcd refuses an empty key; a zero byte is the least there is.
fn non_empty(prefix: &[u8]) -> Vec<u8> {
    if prefix.is_empty() {
        vec![0]
    } else {
        prefix.to_vec()
    }
}

#[cfg(test)]
mod tests;
