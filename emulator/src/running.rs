//! An emulator that serves: its addresses, what it has seen, and its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use kmslab_keycore::{KeyCore, LabClock};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admin::{self, Admin};
use crate::builder::Bound;
use crate::counts::RequestCounts;
use crate::front::{self, Fronts};
use crate::gcp::identity::KeyFile;
use crate::hosts::{self, Hosts};
use crate::keytable::KeyRow;
use crate::proxy;
use crate::server::{self, Deadlines, Served, serve};
use crate::tls::Tls;

/// How often rotations and deletions that fell due are carried out when nobody asks for the key.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) struct Listening {
    pub(crate) http: Bound,
    pub(crate) https: Option<Bound>,
    pub(crate) proxy: Option<Bound>,
    pub(crate) tls: Option<Tls>,
    pub(crate) admin: Option<Bound>,
    pub(crate) hosts: Arc<Hosts>,
}

/// A serving emulator. Dropping it stops every task and closes every socket;
/// [`RunningEmulator::shutdown`] lets requests under way finish first.
#[derive(Debug)]
pub struct RunningEmulator {
    http: SocketAddr,
    https: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    tls: Option<Tls>,
    admin: Option<SocketAddr>,
    fronts: Fronts,
    lab: Arc<LabClock>,
    core: Arc<KeyCore>,
    stop: CancellationToken,
    /// What the proxy handed over to TLS is no task of ours to drop.
    _ends: DropGuard,
    tasks: JoinSet<()>,
}

impl RunningEmulator {
    pub(crate) fn serve(listening: Listening, fronts: Fronts, state: Arc<Admin>) -> Self {
        let Listening {
            http: (listener, http),
            https,
            proxy,
            tls,
            admin,
            hosts,
        } = listening;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let guard = from_fn_with_state(hosts, hosts::guard);
        let router = front::router(fronts.clone()).layer(guard.clone());
        let room = server::room();
        let served = |router| Served {
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
        let (lab, core) = (Arc::clone(&state.lab), Arc::clone(&state.core));
        tasks.spawn(settle(Arc::clone(&state), stop.clone()));
        let admin = admin.map(|(listener, address)| {
            let room = Arc::new(Semaphore::new(server::ADMIN_CONNECTIONS));
            tasks.spawn(serve(
                listener,
                None,
                served(admin::router(state).layer(guard)),
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
            fronts,
            lab,
            core,
            stop,
            _ends: ends,
            tasks,
        }
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where HTTPS is served.
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Where the proxy for the vendors' host names is.
    pub fn proxy_addr(&self) -> Option<SocketAddr> {
        self.proxy
    }

    /// Where the admin port is served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The tenant that Azure's tokens are of.
    pub fn azure_tenant(&self) -> String {
        self.fronts.azure.identity.directory.tenant.clone()
    }

    /// The key of Google's service account that may do everything, made now if it was not yet.
    /// `None` where the system has no randomness.
    pub fn gcp_owner(&self) -> Option<KeyFile> {
        self.fronts.gcp.identity.owner()
    }

    /// The certificate that a client of HTTPS must trust.
    pub fn ca_pem(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.ca_pem.clone())
    }

    /// The same as a file. A temporary one goes with the emulator.
    pub fn ca_path(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|tls| tls.ca_path.clone())
    }

    /// Requests so far, refused ones included.
    pub fn requests(&self) -> RequestCounts {
        self.fronts.counter.snapshot()
    }

    /// The clock that keys live by.
    pub fn clock(&self) -> Arc<LabClock> {
        Arc::clone(&self.lab)
    }

    /// Every key with its versions; no material.
    pub fn key_table(&self) -> Vec<KeyRow> {
        self.fronts.key_table()
    }

    /// Stops listening, waits for requests under way (5 s at most) and ends.
    pub async fn shutdown(mut self) {
        self.core.stop();
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for RunningEmulator {
    /// What computes on another thread is not dropped with its task.
    fn drop(&mut self) {
        self.core.stop();
    }
}

async fn settle(state: Arc<Admin>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SETTLE) => {}
        }
        // Nobody's move: there is nothing before it that could fail.
        let _: Result<_, std::convert::Infallible> = state.settle(|| Ok(())).await;
    }
}
