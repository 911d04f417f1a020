//! Values that the stock kube-apiserver writes with keys of its configuration and with KMS v1,
//! under names with colons: k3s and RKE2 name keys by time.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kmslab::assets::{Assets, NoProgress, Options, Tool};
use kmslab::cluster::apiserver::{ApiServerCluster, Config, Programs, ReadyCondition};
use kmslab::cluster::{
    Cipher, Cluster as _, Encryption, LocalKey, LocalProvider, ObjectRef, Provider, Resource,
};
use kmslab::inspect::decryptor::Decryptors;
use kmslab::inspect::{self, inspect};
use kmslab::runtime_dir::RuntimeDir;
use kmslab::scenario::{Canary, objects};
use kmslab_e2e::binaries;
use kmslab_kmsv2::socket_v1::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use kmslab_kmsv2::socket_v1::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest,
    VersionResponse,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// A KMS v1 plugin whose cipher flips bits.
#[derive(Debug)]
struct Flip;

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

#[tonic::async_trait]
impl KeyManagementService for Flip {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        let name = ["v1beta1", "flip", "1"].map(str::to_owned);
        let [version, runtime_name, runtime_version] = name;
        Ok(Response::new(VersionResponse {
            version,
            runtime_name,
            runtime_version,
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        Ok(Response::new(EncryptResponse {
            cipher: flipped(&request.into_inner().plain),
        }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        Ok(Response::new(DecryptResponse {
            plain: flipped(&request.into_inner().cipher),
        }))
    }
}

/// Serves it on an abstract socket: kube-apiserver sends the socket's path as `:authority`, and
/// `h2`, used by tonic, rejects one with slashes.
fn serve_flip() -> PathBuf {
    let name = format!("@kmslab-v1-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
    let server =
        tonic::transport::Server::builder().add_service(KeyManagementServiceServer::new(Flip));
    tokio::spawn(server.serve_with_incoming(incoming));
    Path::new("/").join(name)
}

async fn tools() -> Programs {
    let found = Assets::from_env(&Options::default())
        .install(&[Tool::KubeApiserver, Tool::Etcd], &NoProgress)
        .await
        .unwrap();
    let path = |tool| {
        found
            .iter()
            .find(|found| found.tool == tool)
            .unwrap()
            .path
            .clone()
    };
    Programs {
        kube_apiserver: path(Tool::KubeApiserver),
        etcd: path(Tool::Etcd),
    }
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn provider_names_with_colons_of_the_stock_server_are_read() {
    let socket = serve_flip();
    let local = |cipher, name: &str| {
        let key = LocalKey {
            name: name.to_owned(),
            secret: vec![7; 32].into(),
        };
        Provider::Local(LocalProvider {
            cipher,
            keys: vec![key],
        })
    };
    let v1 = "arn:aws:kms:eu-west-1:111122223333:key";
    let tools = tools().await;
    for (kind, name, provider) in [
        (
            "aescbc",
            "aescbckey-2022-08-04T20:37:15Z",
            local(Cipher::Aescbc, "aescbckey-2022-08-04T20:37:15Z"),
        ),
        (
            "aesgcm",
            "aesgcmkey-2022-08-04T20:37:15Z",
            local(Cipher::Aesgcm, "aesgcmkey-2022-08-04T20:37:15Z"),
        ),
        (
            "secretbox",
            "secretboxkey-2022-08-04T20:37:15Z",
            local(Cipher::Secretbox, "secretboxkey-2022-08-04T20:37:15Z"),
        ),
        (
            "kms-v1",
            v1,
            Provider::KmsV1 {
                name: v1.to_owned(),
                socket,
            },
        ),
    ] {
        let encryption = Encryption {
            resources: vec!["secrets".into()],
            providers: vec![provider, Provider::Identity],
        };
        let dir = Arc::new(RuntimeDir::create_unique("older").unwrap());
        let config = Config {
            kmslab: Some(binaries().join("kmslab")),
            ..Config::new(tools.clone(), dir, encryption)
        };
        let cluster = ApiServerCluster::start(config).await.unwrap();

        let object = objects::secret("default", "colons", 100, &Canary::new([3; 24]));
        cluster.api().create(&object).await.unwrap();
        let at = ObjectRef::from_object(&Resource::secrets(), &object).unwrap();
        let stored = cluster.etcd().get(&at.etcd_key()).await.unwrap().unwrap();
        let report = inspect(
            &[stored],
            &mut Decryptors::default(),
            &inspect::Options::default(),
        )
        .await;
        let row = &report.values[0];
        assert_eq!(
            (row.kind, row.provider.as_deref(), row.problem.as_ref()),
            (kind, Some(name), None)
        );
        cluster.shutdown().await.unwrap();
    }
}

#[ignore = "tier apiserver: needs kube-apiserver and etcd, which tests/run gets"]
#[tokio::test(flavor = "multi_thread")]
async fn plugin_logs_a_remedy_for_a_stock_server_with_kms_v1() {
    let temp = tempfile::tempdir().unwrap();
    let (socket, log) = (temp.path().join("kms.sock"), temp.path().join("log"));
    let mut plugin = tokio::process::Command::new(binaries().join("kmslab"))
        .args([
            "plugin",
            "aws",
            "--key",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ])
        .args(["--endpoint-url", "http://127.0.0.1:1", "--listen"])
        .arg(&socket)
        .envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")])
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let provider = Provider::KmsV1 {
        name: "kmslab".into(),
        socket,
    };
    let encryption = Encryption {
        resources: vec!["secrets".into()],
        providers: vec![provider, Provider::Identity],
    };
    let dir = Arc::new(RuntimeDir::create_unique("older").unwrap());
    let config = Config {
        kmslab: Some(binaries().join("kmslab")),
        ready: ReadyCondition::Alive,
        ..Config::new(tools().await, dir, encryption)
    };
    let cluster = ApiServerCluster::start(config).await.unwrap();
    let message = async {
        while !std::fs::read_to_string(&log)
            .unwrap()
            .contains("set `apiVersion: v2`")
        {
            // Makes the server call it.
            let _ = cluster.health("/readyz/kms-providers").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let message = tokio::time::timeout(Duration::from_secs(30), message).await;
    assert!(
        message.is_ok(),
        "{}",
        std::fs::read_to_string(&log).unwrap()
    );
    cluster.shutdown().await.unwrap();
    plugin.kill().await.unwrap();
}
