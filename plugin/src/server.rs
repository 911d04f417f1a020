//! Builds, runs and stops a plugin, in its own process or as tasks of another program.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kmslab_kmsv2::socket::key_management_service_server::KeyManagementServiceServer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::health;
use crate::kek::{Kek, Metered};
use crate::metrics::{Metrics, Operation};
use crate::monitor::KeyMonitor;
use crate::service::Service;
use crate::socket::{
    self, Access, CloseableListener, ConnectionStream, SocketError, SocketFile, SocketHealth,
};
use crate::time::{Timer, TokioTimer};
use crate::unsupported::UnsupportedServices;

/// Maximum size of a message in bytes. The largest that kube-apiserver sends is a Decrypt: 1 KiB of
/// ciphertext, 1 KiB of key id, 32 KiB of annotations.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Connections to the health port that wait to be accepted.
const HEALTH_BACKLOG: u32 = 128;

/// Why a plugin did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The HTTP port cannot be bound.
    #[error("--health-listen {addr}: cannot listen: {source}; choose a free port")]
    Health {
        /// The address.
        addr: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The two durations do not fit together.
    #[error(
        "--grace {grace:?} is shorter than --probe-interval {interval:?}: Status would fail between two probes; give at least twice the interval"
    )]
    Grace {
        /// How long Status stays healthy without a successful probe.
        grace: Duration,
        /// Interval between probes.
        interval: Duration,
    },
}

/// Numbers of calls so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Status calls answered.
    pub status: u64,
    /// Encrypt calls answered.
    pub encrypt: u64,
    /// Decrypt calls answered.
    pub decrypt: u64,
    /// Calls in progress.
    pub in_flight: u64,
    /// Requests sent to the cloud, including retries.
    pub sdk_requests: u64,
}

/// Configuration of a plugin: see [`Plugin::builder`].
#[derive(Debug)]
pub struct Plugin {
    kek: Arc<dyn Kek>,
    listen: PathBuf,
    access: Access,
    timer: Arc<dyn Timer>,
    generation: u32,
    probe_interval: Duration,
    grace: Duration,
    drain: Duration,
    health: Option<SocketAddr>,
    port_sharing: bool,
}

impl Plugin {
    /// A plugin for one key that will listen on `listen`, using the system's clock.
    pub fn builder(kek: Arc<dyn Kek>, listen: impl Into<PathBuf>) -> Self {
        Self {
            kek,
            listen: listen.into(),
            access: Access::default(),
            timer: Arc::new(TokioTimer::new()),
            generation: 0,
            probe_interval: Duration::from_secs(10),
            grace: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            health: None,
            port_sharing: false,
        }
    }

    /// Sets who may connect; by default only the owner.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets the clock of probes and grace period.
    #[must_use]
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = timer;
        self
    }

    /// Sets the number that is part of every key id, 0 by default. Increase it when an alias
    /// returns to an earlier key, since a key_id must not be reused.
    #[must_use]
    pub fn generation(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    /// Sets the interval between probes of the key, 10 s by default.
    #[must_use]
    pub fn probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// Sets how long Status stays healthy after the last successful use of the key, 60 s by
    /// default.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long running calls may take on shutdown, 10 s by default.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Serves `/livez`, `/readyz` and `/metrics` on this address.
    #[must_use]
    pub fn health_listen(mut self, addr: SocketAddr) -> Self {
        self.health = Some(addr);
        self
    }

    /// Sets whether the health port is bound with SO_REUSEPORT, so that its reservation by another
    /// process of the same user does not prevent that.
    #[must_use]
    pub fn permit_port_sharing(mut self, permit: bool) -> Self {
        self.port_sharing = permit;
        self
    }

    /// Binds and serves. The key need not be reachable: until it is, Status reports why not.
    pub async fn start(self) -> Result<RunningPlugin, StartError> {
        if self.grace < self.probe_interval * 2 {
            return Err(StartError::Grace {
                grace: self.grace,
                interval: self.probe_interval,
            });
        }
        let (listener, bound) = socket::bind(&self.listen, self.access).await?;
        let http = match self.health {
            None => None,
            Some(addr) => match bind_health_port(addr, self.port_sharing) {
                Ok(http) => Some(http),
                Err(source) => {
                    drop(listener);
                    bound.unlink();
                    return Err(StartError::Health { addr, source });
                }
            },
        };
        let metrics = Arc::new(Metrics::new());
        let monitor = Arc::new(KeyMonitor::new(
            Arc::new(Metered::new(self.kek, Arc::clone(&metrics))),
            self.timer.clone(),
            self.generation,
            self.grace,
        ));
        let service = Service {
            monitor: Arc::clone(&monitor),
            metrics,
            killed: CancellationToken::new(),
            standing: SocketHealth::default(),
        };
        let listener = CloseableListener::new(listener);
        let stop = CancellationToken::new();

        // The ticker is created here and not in its task, so that a virtual clock waits for the
        // first probe from now on.
        let ticker = self.timer.ticker();
        let interval = self.probe_interval;
        let killed = service.killed.clone();
        let prober = async move {
            killed
                .run_until_cancelled(monitor.run_probes(ticker, interval))
                .await
        };
        let mut background = vec![tokio::spawn(async move {
            prober.await;
        })];
        let health_addr = http.as_ref().and_then(|http| http.local_addr().ok());
        if let Some(http) = http {
            let router = health::router(Arc::new(service.clone()));
            background.push(tokio::spawn(async move {
                drop(axum::serve(http, router).await)
            }));
        }
        let serving = tokio::spawn(serve(service.clone(), listener.clone(), stop.clone()));
        tracing::info!(socket = %bound.path().display(), "listening");
        let unkept = CancellationToken::new();
        let keeper = socket::keep(
            bound,
            self.access,
            listener.clone(),
            service.standing.clone(),
            unkept.clone(),
        );
        Ok(RunningPlugin {
            service,
            listen: self.listen,
            keeper: Some(tokio::spawn(keeper)),
            unkept,
            listener,
            stop,
            serving: Some(serving),
            background,
            drain: self.drain,
            health_addr,
        })
    }
}

fn bind_health_port(addr: SocketAddr, sharing: bool) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(sharing)?;
    socket.bind(addr)?;
    socket.listen(HEALTH_BACKLOG)
}

async fn serve(service: Service, listener: CloseableListener, stop: CancellationToken) {
    let unsupported = UnsupportedServices::default();
    let incoming = ConnectionStream::new(listener, service.killed.clone(), unsupported.clone());
    let grpc = KeyManagementServiceServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(grpc)
        .into_axum_router()
        .fallback(async move |uri: http::Uri| unsupported.answer(&uri));
    let served = tonic::transport::Server::builder()
        .add_routes(Routes::from(routes))
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await;
    if let Err(err) = served {
        tracing::error!("the gRPC server ended: {err}");
    }
}

/// A running plugin. Dropping it kills it.
#[derive(Debug)]
pub struct RunningPlugin {
    service: Service,
    listen: PathBuf,
    /// Holds the socket's file and returns it when stopped.
    keeper: Option<JoinHandle<SocketFile>>,
    unkept: CancellationToken,
    listener: CloseableListener,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    drain: Duration,
    health_addr: Option<SocketAddr>,
}

impl RunningPlugin {
    /// Numbers of calls answered and requests sent.
    pub fn counts(&self) -> Counts {
        let metrics = &self.service.metrics;
        Counts {
            status: metrics.answered(Operation::Status),
            encrypt: metrics.answered(Operation::Encrypt),
            decrypt: metrics.answered(Operation::Decrypt),
            in_flight: metrics.in_flight(),
            sdk_requests: self.service.monitor.usage().requests,
        }
    }

    /// The key id that Status and Encrypt return; `None` until a probe has succeeded.
    pub fn key_id(&self) -> Option<String> {
        self.service
            .monitor
            .snapshot()
            .map(|snapshot| snapshot.key_id.clone())
    }

    /// Waits for the first probe and returns what Status would: the key id, or the error.
    pub async fn first_probe(&self) -> Result<String, String> {
        self.service.monitor.probed().await;
        self.service
            .monitor
            .health_now()
            .map(|snapshot| snapshot.key_id.clone())
            .map_err(|error| error.to_string())
    }

    /// Path of the socket.
    pub fn socket(&self) -> &std::path::Path {
        &self.listen
    }

    /// Address of the HTTP port, if there is one.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.health_addr
    }

    /// Stops accepting connections, removes the socket, and finishes running calls within the drain
    /// time.
    pub async fn shutdown(mut self) {
        self.listener.close();
        self.unkept.cancel();
        if let Some(keeper) = self.keeper.take()
            && let Ok(bound) = keeper.await
        {
            bound.unlink();
        }
        self.stop.cancel();
        if let Some(mut serving) = self.serving.take()
            && tokio::time::timeout(self.drain, &mut serving)
                .await
                .is_err()
        {
            let left = self.counts().in_flight;
            tracing::warn!(
                left,
                "calls in flight did not end within {:?} and are dropped",
                self.drain
            );
            serving.abort();
        }
        // Drop does the rest.
    }

    /// Ends it as SIGKILL ends a process: connections break, running calls are dropped, the
    /// socket's file stays.
    pub fn kill(self) {}
}

impl Drop for RunningPlugin {
    fn drop(&mut self) {
        self.listener.close();
        self.service.killed.cancel();
        for task in self.serving.iter().chain(&self.background) {
            task.abort();
        }
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}
