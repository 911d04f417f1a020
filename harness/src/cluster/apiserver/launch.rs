//! Starts etcd, then the API servers.

use std::path::PathBuf;
use std::sync::Arc;

use super::certs::Certs;
use super::client::HttpApi;
use super::control::{Control, OwnedProcesses, server_name};
use super::error::StartError;
use super::kubeconfig::{self, ClientAccess};
use super::ready::{self, Run};
use super::{ApiServerCluster, Config, ReadyCondition, config, fragment};
use crate::cluster::Description;
use crate::platform::{PortReservation, check_socket_path};
use crate::process::Program;
use crate::service::Service;

/// How often another port is tried.
const MAX_PORT_ATTEMPTS: u32 = 3;

pub(super) async fn cluster(config: Config) -> Result<ApiServerCluster, StartError> {
    if config.api_servers == 0 {
        return Err(StartError::NoServers);
    }
    let certs = Certs::generate()?;
    write_files(&config, &certs)?;
    let etcd_endpoint = etcd_endpoint(&config)?;
    let etcd_service = Service::start(
        etcd_program(&config, &etcd_endpoint),
        config.keep,
        Arc::clone(&config.dir),
    )?;
    let etcd = ready::wait_for_etcd(&Run::of(etcd_service.child()), &etcd_endpoint).await?;

    let access = ClientAccess::of(&certs);
    let mut servers = Vec::new();
    for number in 0..config.api_servers {
        servers.push(server(&config, number, &etcd_endpoint, &access).await?);
    }
    let urls: Vec<String> = servers
        .iter()
        .map(|server| server.api.url().to_owned())
        .collect();
    let lab = config.dir.name().to_owned();
    let kubeconfig = kubeconfig::write(&config.dir.file("kubeconfig"), &lab, &urls[0], &certs)?;
    let kubernetes = servers[0].api.version().await.unwrap_or_default();
    let description = Description {
        lab,
        kubernetes,
        servers: urls,
        kubeconfig,
        etcd: etcd_endpoint,
        etcd_tls: None,
        kind: None,
        dir: config.dir.path().to_owned(),
        logs: config.dir.logs(),
    };
    let apis = servers
        .iter()
        .map(|server| Arc::clone(&server.api))
        .collect();
    let owned = OwnedProcesses {
        servers: servers
            .into_iter()
            .map(|server| (server.service, server.port))
            .collect(),
        etcd: etcd_service,
    };
    let dir = Some(Arc::clone(&config.dir));
    Ok(ApiServerCluster {
        description,
        apis,
        etcd: Arc::new(etcd),
        control: Control::Owned(owned),
        dir,
    })
}

struct Server {
    service: Service,
    port: PortReservation,
    api: Arc<HttpApi>,
}

async fn server(
    config: &Config,
    number: usize,
    etcd: &str,
    access: &ClientAccess,
) -> Result<Server, StartError> {
    let mut tries = MAX_PORT_ATTEMPTS;
    loop {
        tries -= 1;
        let port = PortReservation::new().map_err(StartError::Port)?;
        match server_on(config, number, etcd, access, &port).await {
            // The reservation excludes most others, but not a socket of this user that shares ports
            // as well.
            Err(error) if error.is_port_taken() && tries > 0 => {
                tracing::warn!(%error, "trying another port")
            }
            Err(error) => return Err(error),
            Ok((service, api)) => return Ok(Server { service, port, api }),
        }
    }
}

async fn server_on(
    config: &Config,
    number: usize,
    etcd: &str,
    access: &ClientAccess,
    port: &PortReservation,
) -> Result<(Service, Arc<HttpApi>), StartError> {
    let api = Arc::new(HttpApi::new(
        &format!("https://127.0.0.1:{}", port.port()),
        access,
    )?);
    let program = server_program(config, number, etcd, port.port())?;
    let service = Service::start(program, config.keep, Arc::clone(&config.dir))?;
    let run = Run::of(service.child());
    match config.ready {
        ReadyCondition::Readyz => ready::wait_until_ready(&run, &api).await?,
        ReadyCondition::Alive => ready::wait_until_alive(&run, &api).await?,
    }
    Ok((service, api))
}

fn write_files(config: &Config, certs: &Certs) -> Result<(), StartError> {
    let files = [
        ("ca.crt", certs.ca.as_str()),
        ("server.crt", &certs.server.cert),
        ("server.key", &certs.server.key),
        ("service-account.key", &certs.service_account_key),
        ("service-account.pub", &certs.service_account_public),
        (config::CONFIG_FILE, &config::render(&config.encryption)?),
    ];
    for (name, content) in files {
        let path = config.dir.file(name);
        config
            .dir
            .write_private(name, content.as_bytes())
            .map_err(StartError::file("writing", &path))?;
    }
    Ok(())
}

fn etcd_endpoint(config: &Config) -> Result<String, StartError> {
    let socket = config.dir.file("etcd.sock");
    check_socket_path(&socket).map_err(StartError::file("using", &socket))?;
    Ok(format!("unix://{}", socket.display()))
}

/// Clients use a unix socket; the peer port is chosen by the system and never used.
fn etcd_program(config: &Config, endpoint: &str) -> Program {
    let data = config.dir.file("etcd");
    let program = Program::new(
        "etcd",
        &config.tools.etcd,
        config.dir.logs().join("etcd.log"),
    )
    .args([
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={endpoint}"),
        // Must be a TCP URL; clients are given the socket.
        "--advertise-client-urls=http://127.0.0.1:0".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        // The data is deleted with the lab, so only a crash of the machine would matter.
        "--unsafe-no-fsync".to_owned(),
    ]);
    with_spawner(config, program)
}

fn server_program(
    config: &Config,
    number: usize,
    etcd: &str,
    port: u16,
) -> Result<Program, StartError> {
    let file = |name: &str| config.dir.file(name).display().to_string();
    let name = server_name(number);
    let log = config.dir.logs().join(format!("{name}.log"));
    let program = Program::new(&name, &config.tools.kube_apiserver, log)
        .args([
            format!("--etcd-servers={etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            // With SO_REUSEPORT the lab keeps the port reserved while the server is down.
            "--permit-port-sharing=true".to_owned(),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--cert-dir={}", file(&name)),
            format!("--client-ca-file={}", file("ca.crt")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!(
                "--service-account-signing-key-file={}",
                file("service-account.key")
            ),
            format!("--service-account-key-file={}", file("service-account.pub")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            // No controller creates default service accounts here.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // Nothing in the cluster calls the API by its Service, and a loopback address cannot be
            // an endpoint.
            "--endpoint-reconciler-type=none".to_owned(),
        ])
        .args(fragment::flags(&PathBuf::from(file(config::CONFIG_FILE)))?)
        .args(
            config
                .encryption
                .has_kms_v1()
                .then_some("--feature-gates=KMSv1=true"),
        );
    Ok(with_spawner(config, program))
}

fn with_spawner(config: &Config, program: Program) -> Program {
    match &config.kmslab {
        Some(kmslab) => program.spawner(kmslab),
        None => program,
    }
}
