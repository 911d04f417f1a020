//! A running emulator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use jiff::Timestamp;
use kmslab_emulator_api::{
    AuditPage, AuditQuery, ClockMoved, Endpoints, Fault, FaultTable, KeyTable, RequestCounts,
};
use kmslab_keycore::{Clock as _, ClockError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admin;
use crate::gcp::identity::KeyFile;
use crate::http::host::{self, Hosts};
use crate::pipeline::faults::AddFaultError;
use crate::proxy;
use crate::router;
use crate::seed::{SeedError, SeedFile};
use crate::server::{self, BoundListener, Deadlines, ServedRouter, serve};
use crate::state::State;
use crate::tls::Tls;

/// How often due rotations and deletions are applied to keys that nobody uses.
const APPLY_DUE_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct BoundPorts {
    pub(crate) http: BoundListener,
    pub(crate) https: Option<BoundListener>,
    pub(crate) proxy: Option<BoundListener>,
    pub(crate) tls: Option<Tls>,
    pub(crate) admin: Option<BoundListener>,
    pub(crate) hosts: Arc<Hosts>,
}

/// A running emulator, from [`Emulator::builder`]. Dropping it stops all tasks and closes all
/// sockets; [`Emulator::stop`] finishes running requests first.
#[derive(Debug)]
pub struct Emulator {
    http: SocketAddr,
    https: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    tls: Option<Tls>,
    admin: Option<SocketAddr>,
    state: Arc<State>,
    stop: CancellationToken,
    /// Tunnels of the proxy are tasks of their own.
    _ends: DropGuard,
    tasks: JoinSet<()>,
}

impl Emulator {
    pub(crate) fn serve(listening: BoundPorts, state: Arc<State>) -> Self {
        let BoundPorts {
            http: (listener, http),
            https,
            proxy,
            tls,
            admin,
            hosts,
        } = listening;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let router = router::router(state.services.clone(), Arc::clone(&hosts));
        let room = server::connection_slots();
        let served = |router| ServedRouter {
            router,
            deadlines: Deadlines::default(),
            stop: stop.clone(),
        };
        tasks.spawn(serve(
            listener,
            None,
            served(router.clone()),
            Arc::clone(&room),
        ));
        let acceptor = tls.as_ref().map(|tls| tls.acceptor.clone());
        let https = https
            .zip(acceptor.clone())
            .map(|((listener, address), acceptor)| {
                tasks.spawn(serve(
                    listener,
                    Some(acceptor),
                    served(router.clone()),
                    Arc::clone(&room),
                ));
                address
            });
        let proxy = proxy.zip(acceptor).map(|((listener, address), acceptor)| {
            let router = proxy::router(served(router), acceptor, Arc::clone(&room));
            tasks.spawn(serve(listener, None, served(router), room));
            address
        });
        tasks.spawn(apply_due_periodically(Arc::clone(&state), stop.clone()));
        let admin = admin.map(|(listener, address)| {
            let room = Arc::new(Semaphore::new(server::ADMIN_CONNECTIONS));
            let guard = from_fn_with_state(hosts, host::guard);
            tasks.spawn(serve(
                listener,
                None,
                served(admin::router(Arc::clone(&state), stop.clone()).layer(guard)),
                room,
            ));
            address
        });
        let ends = stop.clone().drop_guard();
        Self {
            http,
            https,
            proxy,
            tls,
            admin,
            state,
            stop,
            _ends: ends,
            tasks,
        }
    }

    /// `http://HOST:PORT` of AWS KMS and Google Cloud KMS, for an SDK's endpoint URL.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Address of the HTTP port.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Address of the HTTPS port.
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Address of the proxy for the vendors' host names.
    pub fn proxy_addr(&self) -> Option<SocketAddr> {
        self.proxy
    }

    /// Address of the admin port.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Tenant id of Azure's tokens.
    pub fn azure_tenant(&self) -> String {
        self.state.services.azure.identity.directory.tenant.clone()
    }

    /// Key of Google's service account with all permissions, the same in every emulator.
    pub fn gcp_owner(&self) -> KeyFile {
        self.state.services.gcp.identity.owner()
    }

    /// Certificate of the CA that HTTPS clients must trust, as PEM.
    pub fn ca_pem(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.ca_pem.clone())
    }

    /// File with that certificate. A temporary one is removed with the emulator.
    pub fn ca_path(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|tls| tls.ca_path.clone())
    }

    /// All addresses, as `kmslab emulator --format json` prints them. Only that command writes a key
    /// file.
    pub fn endpoints(&self) -> Endpoints {
        self.state.endpoints()
    }

    /// Adds the key file to the addresses.
    pub(crate) fn publish_gcp_key_file(&self, path: PathBuf) {
        let _ = self.state.gcp_key_file.set(path);
    }

    /// Request counts, including rejected requests.
    pub fn requests(&self) -> RequestCounts {
        self.state.requests()
    }

    /// The lab clock, which keys live by.
    pub fn clock(&self) -> EmulatorClock {
        EmulatorClock(Arc::clone(&self.state))
    }

    /// Returns all keys with their versions, without key material, after their due rotations.
    pub async fn keys(&self) -> KeyTable {
        self.state.key_table().await
    }

    /// Adds a fault behind the others and returns its name.
    pub fn add_fault(&self, fault: Fault) -> Result<String, AddFaultError> {
        self.state.services.pipeline.faults.add(fault)
    }

    /// Returns events of the audit trail, oldest first.
    pub fn audit(&self, query: &AuditQuery) -> AuditPage {
        self.state.services.pipeline.audit.query(query)
    }

    /// Removes a fault. Returns whether there was one of that name.
    pub fn remove_fault(&self, name: &str) -> bool {
        self.state.services.pipeline.faults.remove(name)
    }

    /// Removes all faults and returns their number.
    pub fn clear_faults(&self) -> usize {
        self.state.services.pipeline.faults.clear()
    }

    /// All faults, with their hits and the seed of their random decisions.
    pub fn faults(&self) -> FaultTable {
        self.state.services.pipeline.faults.table()
    }

    /// Everything that the emulator has, as a seed file. Without `with_material`, key material and
    /// what callers log in with are left out.
    pub async fn export(&self, with_material: bool) -> Result<SeedFile, SeedError> {
        self.state.export(with_material).await
    }

    /// Removes all keys, callers and request counts, and applies the seed and the faults of the
    /// start again. The clock stays.
    pub async fn reset(&self) -> Result<(), SeedError> {
        self.state.reset().await
    }

    /// Stops listening, waits up to 5 s for running requests, and ends.
    pub async fn stop(mut self) {
        self.state.services.stop();
        // Requests that a fault holds back are answered.
        self.clear_faults();
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Emulator {
    /// Blocking tasks are not cancelled with the emulator.
    fn drop(&mut self) {
        self.state.services.stop();
    }
}

/// The lab clock of an emulator, which keys live by. It follows the wall clock and can be advanced.
#[derive(Debug, Clone)]
pub struct EmulatorClock(Arc<State>);

impl EmulatorClock {
    /// The time that the lab clock shows.
    pub fn now(&self) -> Timestamp {
        self.0.lab.now()
    }

    /// Advances the clock and applies the rotations and deletions that become due.
    pub async fn advance(&self, by: Duration) -> Result<ClockMoved, ClockError> {
        self.0.advance_clock(by).await
    }

    /// Sets the clock to a later time and applies the rotations and deletions that become due.
    pub async fn set(&self, time: Timestamp) -> Result<ClockMoved, ClockError> {
        self.0.set_clock(time).await
    }
}

async fn apply_due_periodically(state: Arc<State>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(APPLY_DUE_INTERVAL) => {}
        }
        state.apply_due().await;
    }
}
