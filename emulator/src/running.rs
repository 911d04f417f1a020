//! An emulator that serves: its addresses, what it has seen, and its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kmslab_keycore::LabClock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::aws::KeyRow;
use crate::builder::Bound;
use crate::counts::RequestCounts;
use crate::server::serve;
use crate::service::{self, AwsService};
use crate::tls::Tls;

/// How often rotations and deletions that fell due are carried out when nobody asks for the key.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) struct Listening {
    pub(crate) http: Bound,
    pub(crate) https: Option<(Bound, Tls)>,
    pub(crate) admin: Option<Bound>,
}

/// A serving emulator. Dropping it stops every task and closes every socket; [`RunningEmulator::shutdown`] lets requests under way
/// finish first.
#[derive(Debug)]
pub struct RunningEmulator {
    http: SocketAddr,
    https: Option<(SocketAddr, Tls)>,
    admin: Option<SocketAddr>,
    service: Arc<AwsService>,
    lab: Arc<LabClock>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl RunningEmulator {
    pub(crate) fn serve(listening: Listening, service: Arc<AwsService>, state: Arc<Admin>) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let aws = service::router(Arc::clone(&service));
        let (listener, http) = listening.http;
        tasks.spawn(serve(listener, None, aws.clone(), stop.clone()));
        let https = listening.https.map(|((listener, address), tls)| {
            tasks.spawn(serve(listener, Some(tls.acceptor.clone()), aws, stop.clone()));
            (address, tls)
        });
        let lab = Arc::clone(&state.lab);
        tasks.spawn(settle(Arc::clone(&state), stop.clone()));
        let admin = listening.admin.map(|(listener, address)| {
            tasks.spawn(serve(listener, None, admin::router(state), stop.clone()));
            address
        });
        Self { http, https, admin, service, lab, stop, tasks }
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where HTTPS is served.
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.https.as_ref().map(|(address, _)| *address)
    }

    /// Where the admin port is served.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The certificate that a client of HTTPS must trust.
    pub fn ca_pem(&self) -> Option<String> {
        self.https.as_ref().map(|(_, tls)| tls.ca_pem.clone())
    }

    /// The same as a file. A temporary one goes with the emulator.
    pub fn ca_path(&self) -> Option<PathBuf> {
        self.https.as_ref().map(|(_, tls)| tls.ca_path.clone())
    }

    /// Requests so far, refused ones included.
    pub fn requests(&self) -> RequestCounts {
        self.service.counter.snapshot()
    }

    /// The clock that keys live by.
    pub fn clock(&self) -> Arc<LabClock> {
        Arc::clone(&self.lab)
    }

    /// Every key with its versions; no material.
    pub fn key_table(&self) -> Vec<KeyRow> {
        self.service.aws.key_table()
    }

    /// Stops listening, waits for requests under way (5 s at most) and ends.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn settle(state: Arc<Admin>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SETTLE) => {}
        }
        state.settle().await;
    }
}
