//! Configures and starts an emulator, for the command and for tests in the same process.

use crate::well_known::AZURE_TENANT;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jiff::SignedDuration;
use kmslab_emulator_api::{Endpoints, FaultFile};
use kmslab_keycore::{
    Clock, Entropy, Front, KeyCore, LabClock, MemoryStore, SystemClock, SystemEntropy,
};
use tokio::net::TcpListener;

use crate::Auth;
use crate::aws::Aws;
use crate::aws::auth::{Authenticator, CredentialError, Credentials};
use crate::aws::service::AwsService;
use crate::azure::{self, Azure};
use crate::emulator::{BoundPorts, Emulator};
use crate::fault_file::{FaultFileError, catalogs};
use crate::gcp::{self, Gcp};
use crate::http::host::Hosts;
use crate::pipeline::Pipeline;
use crate::pipeline::audit::Audit;
use crate::pipeline::faults::{AddFaultError, Faults};
use crate::proxy;
use crate::router::Services;
use crate::seed::{SeedCredential, SeedError, SeedFile};
use crate::server::BoundListener;
use crate::state::State;
use crate::tls::{Tls, TlsError};

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error(
        "cannot listen on {address}: {source}; stop what uses that address, or choose another with {flag} (port 0: any free one)"
    )]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("{0}; choose another directory with --tls-dir, or go without HTTPS with --no-tls")]
    Tls(#[from] TlsError),
    /// A credential cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A seed cannot be applied.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// A fault cannot be used.
    #[error("cannot use a fault: {0}")]
    Fault(#[from] AddFaultError),
    /// A file of faults cannot be used.
    #[error(transparent)]
    FaultFile(#[from] FaultFileError),
    /// The audit file cannot be written.
    #[error("cannot write the audit file {}: {source}", path.display())]
    AuditFile {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StartError {
    /// Whether the machine, not the configuration, is at fault.
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::Tls(_))
    }
}

impl Emulator {
    /// Returns a builder with these defaults: HTTP on a free port of 127.0.0.1, no HTTPS, no admin
    /// port, requests authenticated, access key `test` with secret `test`, no keys, the system
    /// clock, and a lab clock that follows it.
    pub fn builder() -> EmulatorBuilder {
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let wall: Arc<dyn Clock> = Arc::new(SystemClock);
        EmulatorBuilder {
            listen: anywhere,
            tls_listen: None,
            proxy_listen: None,
            admin_listen: None,
            tls_dir: None,
            tls_names: Vec::new(),
            allow_hosts: Vec::new(),
            auth: Auth::On,
            credentials: Vec::new(),
            seed: SeedFile::default(),
            lab: None,
            wall,
            entropy: Arc::new(SystemEntropy),
            azure_tenant: AZURE_TENANT.to_owned(),
            azure_token_lifetime: azure::TOKEN_LIFETIME,
            faults: FaultFile::default(),
            audit_events: AUDIT_EVENTS,
            audit_file: None,
        }
    }
}

/// Configuration of an emulator. See [`Emulator::builder`].
#[derive(Debug)]
#[must_use]
pub struct EmulatorBuilder {
    listen: SocketAddr,
    tls_listen: Option<SocketAddr>,
    proxy_listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    tls_dir: Option<PathBuf>,
    tls_names: Vec<String>,
    allow_hosts: Vec<String>,
    auth: Auth,
    credentials: Vec<SeedCredential>,
    seed: SeedFile,
    lab: Option<Arc<LabClock>>,
    wall: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    azure_tenant: String,
    azure_token_lifetime: SignedDuration,
    faults: FaultFile,
    audit_events: usize,
    audit_file: Option<PathBuf>,
}

/// Default number of events of the audit trail that are kept. One has about 500 bytes.
pub(crate) const AUDIT_EVENTS: usize = 10_000;

impl EmulatorBuilder {
    /// Sets the HTTP address; port 0 chooses a free port.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets the HTTPS address; `None` disables HTTPS.
    pub fn tls_listen(mut self, address: Option<SocketAddr>) -> Self {
        self.tls_listen = address;
        self
    }

    /// Sets the address of the proxy for the vendors' host names; `None` disables the proxy.
    pub fn proxy_listen(mut self, address: Option<SocketAddr>) -> Self {
        self.proxy_listen = address;
        self
    }

    /// Sets the Azure tenant id, a GUID.
    pub fn azure_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.azure_tenant = tenant.into();
        self
    }

    /// Sets the lifetime of Azure tokens. The default is the service's: one day less one second.
    pub fn azure_token_lifetime(mut self, lifetime: SignedDuration) -> Self {
        self.azure_token_lifetime = lifetime;
        self
    }

    /// Sets the admin address; `None` disables the admin port. Whoever reaches it can move the
    /// clock and delete all keys.
    pub fn admin_listen(mut self, address: Option<SocketAddr>) -> Self {
        self.admin_listen = address;
        self
    }

    /// Sets the directory that keeps the CA. By default every start generates one.
    pub fn tls_dir(mut self, dir: Option<PathBuf>) -> Self {
        self.tls_dir = dir;
        self
    }

    /// Adds names and addresses to the server certificate, besides localhost.
    pub fn tls_names(mut self, names: Vec<String>) -> Self {
        self.tls_names = names;
        self
    }

    /// Adds host names to answer, besides addresses, names without a dot, the vendors' names and
    /// those of the certificate. `*.example.com` matches every name below it.
    pub fn allow_hosts(mut self, names: Vec<String>) -> Self {
        self.allow_hosts = names;
        self
    }

    /// Adds an access key of AWS, without a session token.
    pub fn credential(
        self,
        id: impl Into<String>,
        secret: impl Into<String>,
        account: impl Into<String>,
    ) -> Self {
        self.session_credential(SeedCredential::new(id, secret, account))
    }

    /// Adds an access key of AWS that may be temporary.
    pub fn session_credential(mut self, credential: SeedCredential) -> Self {
        self.credentials.push(credential);
        self
    }

    /// Sets whether callers are authenticated and authorized; they are by default.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Sets the clock that keys live by.
    pub fn lab_clock(mut self, clock: Arc<LabClock>) -> Self {
        self.lab = Some(clock);
        self
    }

    /// Sets the clock that signatures, tokens and certificates are checked against. It should show
    /// the real time, as clients do.
    pub fn wall_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.wall = clock;
        self
    }

    /// Sets the source of key material and nonces.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Sets credentials to accept and keys to create, at start and after a reset.
    pub fn seed(mut self, seed: SeedFile) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the faults of the start and of a reset, and the seed of their random decisions, which
    /// is random by default.
    pub fn faults(mut self, faults: FaultFile) -> Self {
        self.faults = faults;
        self
    }

    /// Sets the number of events of the audit trail that are kept for queries, 10,000 by default.
    /// With 0 nothing is recorded.
    pub fn audit_events(mut self, events: usize) -> Self {
        self.audit_events = events;
        self
    }

    /// Appends each event of the audit trail to this file, as a line of JSON. A new file is readable
    /// by its owner only.
    pub fn audit_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.audit_file = Some(path.into());
        self
    }

    /// Binds all ports and serves until the returned value is dropped or shut down.
    pub async fn start(self) -> Result<Emulator, StartError> {
        let mut credentials = match self.seed.well_known {
            true => Credentials::well_known(),
            false => Credentials::default(),
        };
        for credential in self.credentials.iter().chain(&self.seed.credentials) {
            credentials.insert(&credential.id, credential.credential())?;
        }
        // Ports first: a second emulator started by mistake fails at once.
        let http = bind("--listen", self.listen).await?;
        let https = bind_optional("--tls-listen", self.tls_listen).await?;
        let proxy = bind_optional("--proxy-listen", self.proxy_listen).await?;
        let tls = match self.tls_listen.or(self.proxy_listen) {
            Some(address) => {
                let patterns = if proxy.is_some() {
                    proxy::CERTIFICATE_NAMES
                } else {
                    &[]
                };
                let dir = self.tls_dir.as_deref();
                Some(Tls::new(
                    dir,
                    address.ip(),
                    &self.tls_names,
                    patterns,
                    self.wall.now(),
                )?)
            }
            None => None,
        };
        let admin = bind_optional("--admin-listen", self.admin_listen).await?;

        let lab = self
            .lab
            .unwrap_or_else(|| Arc::new(LabClock::new(Arc::clone(&self.wall))));
        let audit_file = match self.audit_file {
            Some(path) => Some((path.clone(), open_audit_file(path)?)),
            None => None,
        };
        let audit = Arc::new(Audit::new(
            self.audit_events,
            audit_file,
            lab.clone(),
            Arc::clone(&self.wall),
        ));
        let aws = Aws::new(
            core(&lab, &self.entropy),
            Arc::clone(&self.entropy),
            Arc::clone(&audit),
        );
        let azure = Azure::new(
            core(&lab, &self.entropy),
            &self.azure_tenant,
            self.azure_token_lifetime,
            Arc::clone(&self.wall),
            Arc::clone(&self.entropy),
            self.auth,
        );
        let gcp = Gcp::new(
            core(&lab, &self.entropy),
            Arc::clone(&self.wall),
            Arc::clone(&self.entropy),
            self.auth,
        );
        let gcp = Arc::new(gcp);
        let faults = Faults::new(self.faults, catalogs(), lab.clone(), Arc::clone(&self.wall))?;
        let pipeline = Pipeline {
            counter: Arc::default(),
            faults: Arc::new(faults),
            audit,
            entropy: Arc::clone(&self.entropy),
        };
        let service = Arc::new(AwsService {
            aws,
            authenticator: Authenticator::new(self.auth, credentials),
            wall: Arc::clone(&self.wall),
        });
        let grpc = gcp::service::Service::router(Arc::clone(&gcp), pipeline.clone());
        let services = Services {
            aws: service,
            azure: Arc::new(azure),
            gcp,
            grpc,
            pipeline,
        };
        let url = |(_, address): &BoundListener| format!("http://{address}");
        let endpoints = Endpoints {
            http: url(&http),
            https: https.as_ref().map(|(_, address)| https_url(*address)),
            proxy: proxy.as_ref().map(url),
            admin: admin.as_ref().map(url),
            ca: tls.as_ref().map(|tls| tls.ca_path.clone()),
            azure_tenant: services.azure.identity.directory.tenant.clone(),
            gcp_key_file: None,
        };
        let state = Arc::new(State {
            services,
            lab,
            wall: Arc::clone(&self.wall),
            seed: self.seed,
            endpoints,
            gcp_key_file: OnceLock::new(),
            applying_due: tokio::sync::Mutex::default(),
        });
        state.apply_seed().await?;
        let hosts = Arc::new(Hosts::new(
            self.allow_hosts.into_iter().chain(self.tls_names),
        ));
        Ok(Emulator::serve(
            BoundPorts {
                http,
                https,
                proxy,
                tls,
                admin,
                hosts,
            },
            state,
        ))
    }
}

fn core<F: Front>(lab: &Arc<LabClock>, entropy: &Arc<dyn Entropy>) -> Arc<KeyCore<F>> {
    let store = Arc::new(MemoryStore::default());
    Arc::new(KeyCore::new(store, lab.clone(), Arc::clone(entropy)))
}

/// The certificate is for localhost and not for 127.0.0.1, which some clients do not accept.
fn https_url(address: SocketAddr) -> String {
    match address.ip().is_loopback() {
        true => format!("https://localhost:{}", address.port()),
        false => format!("https://{address}"),
    }
}

async fn bind_optional(
    flag: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<BoundListener>, StartError> {
    match address {
        Some(address) => bind(flag, address).await.map(Some),
        None => Ok(None),
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<BoundListener, StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Listen {
        address,
        flag,
        source,
    })
}

fn open_audit_file(path: PathBuf) -> Result<File, StartError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&path)
        .map_err(|source| StartError::AuditFile { path, source })
}
