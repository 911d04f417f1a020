//! A scripted key, a manual clock, and a client.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use kmslab_kmsv2::socket::key_management_service_client::KeyManagementServiceClient;
use kmslab_kmsv2::socket::{DecryptRequest, EncryptRequest, EncryptResponse, StatusRequest};
use kmslab_plugin::kek::{Kek, KekError, KeyVersion, Usage, Wrapped};
use kmslab_plugin::time::{BoxFuture, Ticker, Timer};
use kmslab_plugin::{Plugin, RunningPlugin};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

pub(crate) const KEY: &str = "fake:key";
pub(crate) type Client = KeyManagementServiceClient<Channel>;

/// Ciphertexts are the version, a zero byte, and the plaintext with every bit flipped.
#[derive(Debug)]
pub(crate) struct FakeKek {
    script: Mutex<Script>,
    /// Acquired by every unwrap: a test that holds the permits blocks the calls.
    pub(crate) gate: Semaphore,
    pub(crate) wraps: AtomicU64,
    pub(crate) unwraps: AtomicU64,
    /// Unwraps that have started and neither finished nor been dropped.
    pub(crate) unwrapping: AtomicU64,
}

#[derive(Debug)]
struct Script {
    version: String,
    error: Option<KekError>,
    overhead: usize,
    expected: Option<KeyVersion>,
}

impl FakeKek {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Script {
                version: "v1".into(),
                error: None,
                overhead: 0,
                expected: None,
            }),
            gate: Semaphore::new(1000),
            wraps: AtomicU64::new(0),
            unwraps: AtomicU64::new(0),
            unwrapping: AtomicU64::new(0),
        })
    }

    pub(crate) fn rotate(&self, version: impl Into<String>) {
        self.script.lock().unwrap().version = version.into();
    }

    pub(crate) fn fail(&self, error: impl Into<Option<KekError>>) {
        self.script.lock().unwrap().error = error.into();
    }

    /// Makes ciphertexts longer by this from now on.
    pub(crate) fn overhead(&self, bytes: usize) {
        self.script.lock().unwrap().overhead = bytes;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.wraps.load(Ordering::SeqCst) + self.unwraps.load(Ordering::SeqCst)
    }

    /// The version that the last wrap was told to expect.
    pub(crate) fn expected(&self) -> Option<String> {
        let script = self.script.lock().unwrap();
        script
            .expected
            .as_ref()
            .map(|expected| expected.version.clone())
    }

    fn version(&self) -> Result<(KeyVersion, usize), KekError> {
        let script = self.script.lock().unwrap();
        match &script.error {
            Some(error) => Err(error.clone()),
            None => Ok((
                KeyVersion {
                    key: KEY.into(),
                    version: script.version.clone(),
                },
                script.overhead,
            )),
        }
    }
}

struct Unwrapping<'a>(&'a AtomicU64);

impl Drop for Unwrapping<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Kek for FakeKek {
    fn provider(&self) -> &'static str {
        "fake"
    }

    async fn current(&self) -> Result<KeyVersion, KekError> {
        self.version().map(|(version, _)| version)
    }

    async fn wrap(
        &self,
        plaintext: &[u8],
        expected: Option<&KeyVersion>,
    ) -> Result<Wrapped, KekError> {
        self.script.lock().unwrap().expected = expected.cloned();
        self.wraps.fetch_add(1, Ordering::SeqCst);
        let (version, overhead) = self.version()?;
        // The key may rotate before the response arrives.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let mut ciphertext = version.version.clone().into_bytes();
        ciphertext.push(0);
        ciphertext.extend(plaintext.iter().map(|byte| !byte));
        ciphertext.extend(vec![0; overhead]);
        Ok(Wrapped {
            ciphertext,
            version,
        })
    }

    async fn unwrap(
        &self,
        ciphertext: &[u8],
        version: &KeyVersion,
    ) -> Result<Zeroizing<Vec<u8>>, KekError> {
        if version.key != KEY {
            return Err(KekError::WrongKey {
                expected: version.key.clone(),
                configured: KEY.into(),
            });
        }
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        self.unwrapping.fetch_add(1, Ordering::SeqCst);
        let _unwrapping = Unwrapping(&self.unwrapping);
        let _permit = self.gate.acquire().await.unwrap();
        self.version()?;
        let decrypted = sealed_by(ciphertext);
        if decrypted != version.version {
            return Err(KekError::Corrupt {
                detail: format!("opened by {decrypted}"),
            });
        }
        Ok(Zeroizing::new(
            ciphertext[decrypted.len() + 1..]
                .iter()
                .map(|byte| !byte)
                .collect(),
        ))
    }

    fn usage(&self) -> Usage {
        Usage {
            requests: self.calls(),
            ..Usage::default()
        }
    }
}

/// The version that made a ciphertext.
pub(crate) fn sealed_by(ciphertext: &[u8]) -> String {
    String::from_utf8(ciphertext.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
}

/// The time, and the number of waiters: a wait starts at the current time, so time must not advance
/// before the wait has started.
#[derive(Debug)]
pub(crate) struct ManualTimer(watch::Sender<Duration>, Arc<AtomicUsize>);

impl ManualTimer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(
            watch::Sender::new(Duration::from_secs(1000)),
            Arc::default(),
        ))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0
            .send_modify(|now| *now += Duration::from_secs(seconds));
    }
}

impl Timer for ManualTimer {
    fn now(&self) -> Duration {
        *self.0.borrow()
    }

    fn ticker(&self) -> Box<dyn Ticker> {
        Box::new(ManualTicker(self.0.subscribe(), Arc::clone(&self.1)))
    }
}

struct ManualTicker(watch::Receiver<Duration>, Arc<AtomicUsize>);

struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker for ManualTicker {
    fn wait(&mut self, duration: Duration) -> BoxFuture<'_, ()> {
        let until = *self.0.borrow() + duration;
        let waiting = Waiting::begin(&self.1);
        Box::pin(async move {
            let _waiting = waiting;
            if self.0.wait_for(|now| *now >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// A plugin on a socket in its own directory.
pub(crate) struct Lab {
    pub(crate) kek: Arc<FakeKek>,
    pub(crate) timer: Arc<ManualTimer>,
    pub(crate) dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            kek: FakeKek::new(),
            timer: ManualTimer::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("kms.sock")
    }

    pub(crate) fn plugin(&self) -> Plugin {
        Plugin::builder(self.kek.clone(), self.socket()).timer(self.timer.clone())
    }

    pub(crate) async fn start(&self) -> (RunningPlugin, Client) {
        let running = self.plugin().start().await.unwrap();
        let _ = running.first_probe().await;
        (running, connect(&self.socket()).await)
    }

    /// Advances the clock and waits for the probe that this starts.
    pub(crate) async fn advance_to_probe(&self, seconds: u64) {
        eventually("the prober to wait", || {
            self.timer.1.load(Ordering::SeqCst) > 0
        })
        .await;
        let before = self.kek.wraps.load(Ordering::SeqCst);
        self.timer.advance(seconds);
        eventually("a probe", || self.kek.wraps.load(Ordering::SeqCst) > before).await;
    }
}

pub(crate) async fn connect(socket: &Path) -> Client {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap();
    KeyManagementServiceClient::new(channel)
}

/// Polls until the condition holds; a test that waits for ever says for what.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("waited 20 s for {what}"));
}

pub(crate) async fn status(client: &mut Client) -> Result<String, Status> {
    let answer = client.status(StatusRequest {}).await?.into_inner();
    assert_eq!(
        (answer.version.as_str(), answer.healthz.as_str()),
        ("v2", "ok")
    );
    Ok(answer.key_id)
}

/// Calls Status until it has the expected result, which a concurrent probe changes.
pub(crate) async fn status_until(
    client: &mut Client,
    what: &str,
    holds: impl Fn(&Result<String, Status>) -> bool,
) -> Result<String, Status> {
    for _ in 0..4000 {
        let answer = status(client).await;
        if holds(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("Status did not become {what}");
}

pub(crate) async fn encrypt(
    client: &mut Client,
    plaintext: &[u8],
) -> Result<EncryptResponse, Status> {
    let request = EncryptRequest {
        plaintext: plaintext.to_vec(),
        uid: "uid-1".into(),
    };
    client
        .encrypt(request)
        .await
        .map(tonic::Response::into_inner)
}

pub(crate) fn decrypt_request(created: &EncryptResponse) -> DecryptRequest {
    DecryptRequest {
        ciphertext: created.ciphertext.clone(),
        uid: "uid-2".into(),
        key_id: created.key_id.clone(),
        annotations: created.annotations.clone(),
    }
}

pub(crate) async fn decrypt(
    client: &mut Client,
    request: DecryptRequest,
) -> Result<Vec<u8>, Status> {
    client
        .decrypt(request)
        .await
        .map(|answer| answer.into_inner().plaintext)
}

pub(crate) async fn get(addr: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
