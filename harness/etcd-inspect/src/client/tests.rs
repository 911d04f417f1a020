//! The client against a fake server with injected faults; the e2e tests run it against etcd.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use futures::Stream;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::Response;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::*;

#[derive(Default)]
struct Store {
    keys: BTreeMap<Vec<u8>, KeyValue>,
    revision: i64,
    /// Revisions that range requests asked for.
    asked: Vec<i64>,
    /// Number of range requests that fail with a compacted revision.
    compacted: usize,
    /// Number of keys that ranges visited: etcd counts all keys of a range, however few it returns.
    walked: usize,
    /// 0 as with kine.
    cluster: u64,
    /// Whether the server streams ranges, as etcd 3.7 does.
    streams: bool,
    /// Whether it reports missing support after the headers of a response, as over TLS.
    says_so_late: bool,
    /// Flips a bit of the snapshot after computing its checksum.
    corrupt: bool,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Store>>);

impl Fake {
    async fn serve(&self) -> EtcdClient {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // As etcd does; otherwise a response in two segments waits 40 ms.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(self.on(Server::builder()).serve_with_incoming(incoming));
        EtcdClient::connect(&format!("http://{address}"))
            .await
            .unwrap()
    }

    fn on(&self, mut server: Server) -> Router {
        server
            .add_service(pb::kv_server::KvServer::new(self.clone()))
            .add_service(pb::maintenance_server::MaintenanceServer::new(self.clone()))
    }
}

impl Store {
    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            revision: self.revision,
            cluster_id: self.cluster,
            ..Default::default()
        })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.revision += 1;
        let revision = self.revision;
        let kv = self.keys.entry(key.to_vec()).or_insert_with(|| KeyValue {
            key: key.to_vec(),
            create_revision: revision,
            ..Default::default()
        });
        kv.value = value.to_vec();
        kv.mod_revision = revision;
        kv.version += 1;
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl pb::kv_server::Kv for Fake {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Answer<pb::RangeResponse> {
        let mut store = self.0.lock().unwrap();
        let request = request.into_inner();
        store.asked.push(request.revision);
        if request.revision > 0 && store.compacted > 0 {
            store.compacted -= 1;
            return Err(Status::out_of_range(
                "etcdserver: mvcc: required revision has been compacted",
            ));
        }
        let wanted = |key: &[u8]| match &request.range_end[..] {
            [] => key == request.key,
            [0] => true,
            end => key < end,
        };
        let from = store.keys.range(request.key.clone()..);
        let most = if request.limit > 0 {
            request.limit as usize
        } else {
            usize::MAX
        };
        let (mut kvs, mut walked) = (Vec::new(), 0);
        for (_, kv) in from.take_while(|(key, _)| wanted(key)) {
            walked += 1;
            if kvs.len() < most {
                kvs.push(kv.clone());
            }
        }
        store.walked += walked;
        let count = walked as i64;
        let more = count > kvs.len() as i64;
        Ok(Response::new(pb::RangeResponse {
            header: store.header(),
            kvs,
            more,
            count,
        }))
    }

    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let (streams, late) = {
            let store = self.0.lock().unwrap();
            (store.streams, store.says_so_late)
        };
        let unknown =
            Status::unimplemented("unknown method RangeStream for service etcdserverpb.KV");
        match (streams, late) {
            (false, false) => return Err(unknown),
            (false, true) => {
                return Ok(Response::new(Box::pin(futures::stream::iter([Err(
                    unknown,
                )]))));
            }
            (true, _) => {}
        }
        let mut whole = self.range(request).await?.into_inner();
        let mut chunks: Vec<_> = whole.kvs.chunks(7).map(<[_]>::to_vec).collect();
        whole.kvs = chunks.pop().unwrap_or_default();
        let first = chunks.into_iter().map(|kvs| pb::RangeResponse {
            kvs,
            ..Default::default()
        });
        let all: Vec<_> = first
            .chain([whole])
            .map(|range| pb::RangeStreamResponse {
                range_response: Some(range),
            })
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(
            all.into_iter().map(Ok),
        ))))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Answer<pb::PutResponse> {
        let mut store = self.0.lock().unwrap();
        let request = request.into_inner();
        store.put(&request.key, &request.value);
        Ok(Response::new(pb::PutResponse {
            header: store.header(),
            prev_kv: None,
        }))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Answer<pb::DeleteRangeResponse> {
        let mut store = self.0.lock().unwrap();
        let deleted = store
            .keys
            .remove(&request.into_inner().key)
            .is_some()
            .into();
        Ok(Response::new(pb::DeleteRangeResponse {
            header: store.header(),
            deleted,
            prev_kvs: Vec::new(),
        }))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Answer<pb::TxnResponse> {
        let mut store = self.0.lock().unwrap();
        let request = request.into_inner();
        let succeeded = request.compare.iter().all(|compare| {
            let found = store.keys.get(&compare.key).map_or(0, |kv| kv.mod_revision);
            compare.target_union == Some(pb::compare::TargetUnion::ModRevision(found))
        });
        for op in request.success.iter().filter(|_| succeeded) {
            if let Some(pb::request_op::Request::RequestPut(put)) = &op.request {
                store.put(&put.key, &put.value);
            }
        }
        Ok(Response::new(pb::TxnResponse {
            header: store.header(),
            succeeded,
            responses: Vec::new(),
        }))
    }
}

#[async_trait]
impl pb::maintenance_server::Maintenance for Fake {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        let header = self.0.lock().unwrap().header();
        Ok(Response::new(pb::StatusResponse {
            header,
            version: "3.6.16".into(),
            db_size: 9,
            ..Default::default()
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        let mut database = b"the database".to_vec();
        let sum = digest(&SHA256, &database).as_ref().to_vec();
        if self.0.lock().unwrap().corrupt {
            database[3] ^= 1;
        }
        let pieces = database.chunks(5).map(<[u8]>::to_vec).chain([sum]);
        let messages: Vec<_> = pieces
            .map(|blob| {
                Ok(pb::SnapshotResponse {
                    blob,
                    ..Default::default()
                })
            })
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(messages))))
    }
}

#[tokio::test]
async fn paginated_range_is_read_at_one_revision() {
    let fake = Fake::default();
    let client = fake.serve().await;
    for number in 0..600 {
        client
            .put(&format!("/registry/secrets/s{number:04}"), b"v")
            .await
            .unwrap();
    }
    client
        .put("/registry/secretsx", b"not under the prefix")
        .await
        .unwrap();

    let range = client.range("/registry/secrets/").await.unwrap();

    assert_eq!((range.revision, range.items.len()), (601, 600));
    assert!(range.items.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(
        fake.0.lock().unwrap().asked,
        [0, 601, 601],
        "the first page decides the revision"
    );
    assert_eq!(client.range("").await.unwrap().items.len(), 601);
}

#[tokio::test]
async fn compaction_between_pages_restarts_the_range() {
    let fake = Fake::default();
    let client = fake.serve().await;
    for number in 0..300 {
        fake.0
            .lock()
            .unwrap()
            .put(format!("/a/{number:03}").as_bytes(), b"v");
    }
    fake.0.lock().unwrap().compacted = 2;
    assert_eq!(client.range("/a/").await.unwrap().items.len(), 300);

    fake.0.lock().unwrap().compacted = 3;
    let error = client.range("/a/").await.unwrap_err().to_string();
    assert!(
        error.contains("Range of /a/") && error.contains("compacted"),
        "{error}"
    );
}

#[tokio::test]
async fn key_is_written_read_and_deleted() {
    let client = Fake::default().serve().await;
    assert_eq!(client.get("/a").await.unwrap(), None);
    assert_eq!(client.put("/a", b"1").await.unwrap(), 1);
    assert_eq!(client.put("/a", b"2").await.unwrap(), 2);
    let expected = Stored {
        key: "/a".into(),
        value: b"2".into(),
        create_revision: 1,
        mod_revision: 2,
        version: 2,
    };
    assert_eq!(client.get("/a").await.unwrap(), Some(expected));
    assert!(client.delete("/a").await.unwrap());
    assert!(!client.delete("/a").await.unwrap());
}

#[tokio::test]
async fn conditional_put_fails_after_a_change() {
    let client = Fake::default().serve().await;
    assert_eq!(
        client.put_if_unchanged("/a", b"1", 0).await.unwrap(),
        Some(1)
    );
    assert_eq!(client.put_if_unchanged("/a", b"2", 0).await.unwrap(), None);
    assert_eq!(
        client.put_if_unchanged("/a", b"2", 1).await.unwrap(),
        Some(2)
    );
}

#[tokio::test]
async fn snapshot_is_the_database_with_a_verified_checksum() {
    let fake = Fake::default();
    let client = fake.serve().await;
    assert_eq!(client.database().await.unwrap(), b"the database");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    assert_eq!(client.snapshot_to(&path).await.unwrap(), 44);
    assert_eq!(std::fs::read(&path).unwrap()[..12], *b"the database");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no .part is left"
    );

    fake.0.lock().unwrap().corrupt = true;
    let error = client.database().await.unwrap_err().to_string();
    assert!(
        error.contains("SHA-256 over its 12 bytes does not match"),
        "{error}"
    );
}

#[tokio::test]
async fn unix_socket_endpoint_is_supported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(
        Fake::default()
            .on(Server::builder())
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    let client = EtcdClient::connect(&format!("unix://{}", path.display()))
        .await
        .unwrap();
    assert_eq!(client.status().await.unwrap().version, "3.6.16");
}

#[tokio::test]
async fn tls_requires_the_ca_and_mutual_tls_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        Some(path)
    };
    let ca = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, other) = (ca(), ca());
    let leaf = || {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["localhost".to_owned(), "kine.sock".to_owned()])
            .unwrap()
            .signed_by(&key, &ours)
            .unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let ((server_cert, server_key), (client_cert, client_key)) = (leaf(), leaf());
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(server_cert, server_key))
        .client_ca_root(Certificate::from_pem(ours.pem()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let server = || Server::builder().tls_config(tls.clone()).unwrap();
    tokio::spawn(
        Fake::default()
            .on(server())
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let sockets = ["kine.sock", "other.sock"].map(|name| {
        let path = dir.path().join(name);
        let incoming = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
        tokio::spawn(Fake::default().on(server()).serve_with_incoming(incoming));
        format!("unixs://{}", path.display())
    });

    let good = TlsFiles {
        ca: file("ca.pem", &ours.pem()),
        cert: file("cert.pem", &client_cert),
        key: file("key.pem", &client_key),
    };
    let client = EtcdClient::connect_with(&endpoint, &good).await.unwrap();
    assert_eq!(client.put("/a", b"1").await.unwrap(), 1);
    let client = EtcdClient::connect_with(&sockets[0], &good).await.unwrap();
    assert_eq!(client.put("/a", b"1").await.unwrap(), 1);
    let error = EtcdClient::connect_with(&sockets[1], &good)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("other.sock"), "{error}");

    let wrong_ca = TlsFiles {
        ca: file("other.pem", &other.pem()),
        ..good.clone()
    };
    let error = EtcdClient::connect_with(&endpoint, &wrong_ca)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let half = TlsFiles { key: None, ..good };
    let error = EtcdClient::connect_with(&endpoint, &half)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("a certificate needs its key"), "{error}");
}

#[tokio::test]
async fn invalid_endpoints_are_named_with_a_remedy() {
    let rejected = EtcdClient::connect("http://127.0.0.1:1")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        rejected.starts_with("etcd at http://127.0.0.1:1 cannot be reached"),
        "{rejected}"
    );
    let scheme = EtcdClient::connect("127.0.0.1:2379")
        .await
        .unwrap_err()
        .to_string();
    assert!(scheme.contains("use http://HOST:PORT"), "{scheme}");
    let no_ca = EtcdClient::connect("https://127.0.0.1:2379")
        .await
        .unwrap_err()
        .to_string();
    assert!(no_ca.contains("--cacert"), "{no_ca}");
    let socket = EtcdClient::connect("unix:///nonexistent/etcd.sock")
        .await
        .unwrap_err()
        .to_string();
    assert!(socket.contains("No such file"), "{socket}");
}

#[test]
fn end_of_prefix_carries_over_0xff() {
    assert_eq!(end_of_prefix(b"/a/"), b"/a0");
    assert_eq!(end_of_prefix(b"/a\xff\xff"), b"/b");
    assert_eq!(end_of_prefix(b"\xff"), [0]);
    assert_eq!(end_of_prefix(b""), [0]);
}

/// Each layout of keys is visited a few times, not once per page.
#[tokio::test]
async fn pages_return_each_key_once_and_visit_few_others() {
    type KeyOf = fn(usize) -> String;
    let layouts: [(&str, KeyOf); 5] = [
        ("numbers", |number| {
            format!("/registry/secrets/ns/s-{number:06}")
        }),
        ("many namespaces", |number| {
            format!("/registry/secrets/team-{:03}/s-{number:06}", number % 300)
        }),
        ("large namespaces", |number| {
            format!("/registry/secrets/team-{:03}/s-{number:06}", number % 15)
        }),
        ("random names", |number| {
            format!(
                "/registry/pods/ns/{}",
                hex::encode(digest(&SHA256, &number.to_be_bytes()))
            )
        }),
        ("few and far", |number| {
            format!(
                "/registry/{}/{number:06}",
                char::from(b'a' + (number % 26) as u8)
            )
        }),
    ];
    for (layout, key) in &layouts {
        for (cluster, streams) in [(7, false), (0, false), (7, true)] {
            let fake = Fake::default();
            {
                let mut store = fake.0.lock().unwrap();
                (store.cluster, store.streams, store.says_so_late) =
                    (cluster, streams, cluster == 0);
                (0..30_000).for_each(|number| store.put(key(number).as_bytes(), b"value"));
                // Outside the prefix.
                store.put(b"/registrz", b"");
            }
            let client = fake.serve().await;
            let mut pages = client.pages("/registry/");
            pages.page_bytes = 32 * 1024;
            let mut found = Vec::new();
            while let Some(page) = pages.next().await.unwrap() {
                found.extend(
                    page.into_iter()
                        .map(|kv| String::from_utf8(kv.key).unwrap()),
                );
            }
            let mut expected: Vec<String> = (0..30_000).map(key).collect();
            expected.sort();
            assert!(
                found == expected,
                "{layout}, cluster {cluster}: {} keys",
                found.len()
            );
            assert_eq!(pages.revision(), 30_001);
            let walked = fake.0.lock().unwrap().walked;
            assert!(
                cluster == 0 || walked < 4 * 30_000,
                "{layout}: {walked} keys walked over"
            );
        }
    }
}
