//! Replaces envoy, kind's load balancer for several control planes, if its image cannot be pulled:
//! reads what kind writes for envoy, checks the health of each API server, and forwards connections
//! to healthy ones. It has no other features of envoy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// kind writes the two files after it has started the balancer, and again after a change.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The part of envoy's configuration that kind uses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BalancerConfig {
    /// Listening address, such as `0.0.0.0:6443`.
    listen: String,
    /// API servers, such as `node:6443`.
    servers: Vec<String>,
    health: HealthCheck,
}

/// How the health of an API server is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HealthCheck {
    path: String,
    interval: Duration,
    timeout: Duration,
    unhealthy_threshold: u64,
    connect_timeout: Duration,
}

/// Serves the configuration in the files that `bootstrap` names, until it is stopped.
pub async fn run(bootstrap: &Path) -> anyhow::Result<()> {
    let files = EnvoyFiles::read(bootstrap)?;
    let (mut current, mut serving) = (None, JoinSet::new());
    loop {
        if let Some(wanted) = files.wanted()
            && current.as_ref() != Some(&wanted)
        {
            serving.shutdown().await;
            let listener = TcpListener::bind(&wanted.listen)
                .await
                .with_context(|| wanted.listen.clone())?;
            tracing::info!(?wanted, "serving");
            serving.spawn(serve(listener, wanted.clone()));
            current = Some(wanted);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Envoy's clusters and listeners.
struct EnvoyFiles {
    clusters: PathBuf,
    listeners: PathBuf,
}

impl EnvoyFiles {
    fn read(bootstrap: &Path) -> anyhow::Result<Self> {
        let config = yaml(bootstrap)?;
        let path = |name: &str| {
            let path = config.pointer(&format!(
                "/dynamic_resources/{name}/path_config_source/path"
            ));
            path.and_then(Value::as_str)
                .map(PathBuf::from)
                .with_context(|| format!("{} names no {name}", bootstrap.display()))
        };
        Ok(Self {
            clusters: path("cds_config")?,
            listeners: path("lds_config")?,
        })
    }

    /// `None` until both files have content.
    fn wanted(&self) -> Option<BalancerConfig> {
        wanted(&yaml(&self.clusters).ok()?, &yaml(&self.listeners).ok()?)
    }
}

fn yaml(path: &Path) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn wanted(clusters: &Value, listeners: &Value) -> Option<BalancerConfig> {
    let cluster = clusters.pointer("/resources/0")?;
    let endpoints = cluster
        .pointer("/load_assignment/endpoints/0/lb_endpoints")?
        .as_array()?;
    let servers = endpoints
        .iter()
        .map(|endpoint| address(endpoint.pointer("/endpoint/address")?));
    let check = cluster.pointer("/health_checks/0")?;
    let health = HealthCheck {
        path: check
            .pointer("/http_health_check/path")?
            .as_str()?
            .to_owned(),
        interval: seconds(check.get("interval")?)?,
        timeout: seconds(check.get("timeout")?)?,
        unhealthy_threshold: check.get("unhealthy_threshold")?.as_u64()?,
        connect_timeout: seconds(cluster.get("connect_timeout")?)?,
    };
    let listen = address(listeners.pointer("/resources/0/address")?)?;
    Some(BalancerConfig {
        listen,
        servers: servers.collect::<Option<_>>()?,
        health,
    })
}

fn address(at: &Value) -> Option<String> {
    let at = at.get("socket_address")?;
    let host = at.get("address")?.as_str()?;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    Some(format!("{host}:{}", at.get("port_value")?.as_u64()?))
}

/// A duration such as `0.25s`.
fn seconds(time: &Value) -> Option<Duration> {
    let seconds: f64 = time.as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[derive(Debug)]
struct Server {
    address: String,
    well: AtomicBool,
}

async fn serve(listener: TcpListener, wanted: BalancerConfig) {
    let server = |address: &String| {
        Arc::new(Server {
            address: address.clone(),
            well: AtomicBool::new(false),
        })
    };
    let servers: Vec<_> = wanted.servers.iter().map(server).collect();
    let mut tasks = JoinSet::new();
    for server in &servers {
        tasks.spawn(watch(Arc::clone(server), wanted.health.clone()));
    }
    let (next, connections) = (Arc::new(AtomicUsize::new(0)), Mutex::new(JoinSet::new()));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let order = targets(&servers, next.fetch_add(1, Ordering::Relaxed));
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        connections.spawn(forward(client, order, wanted.health.connect_timeout));
    }
}

/// The healthy servers in turn; all servers if none is healthy, like envoy in panic mode.
fn targets(servers: &[Arc<Server>], turn: usize) -> Vec<Arc<Server>> {
    let mut order: Vec<_> = servers
        .iter()
        .filter(|server| server.well.load(Ordering::Relaxed))
        .cloned()
        .collect();
    if order.is_empty() {
        order = servers.to_vec();
    }
    if !order.is_empty() {
        let by = turn % order.len();
        order.rotate_left(by);
    }
    order
}

/// Forwards to the first server that accepts the connection.
async fn forward(mut client: TcpStream, order: Vec<Arc<Server>>, patience: Duration) {
    for server in order {
        if let Ok(Ok(mut upstream)) = timeout(patience, TcpStream::connect(&server.address)).await {
            let _ = copy_bidirectional(&mut client, &mut upstream).await;
            return;
        }
    }
}

async fn watch(server: Arc<Server>, health: HealthCheck) {
    let url = format!("https://{}{}", server.address, health.path);
    // As kind configures envoy: health is checked, not identity.
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(health.timeout)
        .build();
    let Ok(client) = client else { return };
    let mut failed = 0;
    loop {
        let well = client
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success());
        failed = if well { 0 } else { failed + 1 };
        let now =
            well || (server.well.load(Ordering::Relaxed) && failed < health.unhealthy_threshold);
        if server.well.swap(now, Ordering::Relaxed) != now {
            tracing::info!(server = server.address, well = now, "health");
        }
        sleep(health.interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kind 0.33 writes them.
    const CLUSTERS: &str = r#"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: kube_apiservers
  connect_timeout: 0.25s
  health_checks:
  - timeout: 3s
    interval: 2s
    unhealthy_threshold: 2
    healthy_threshold: 1
    http_health_check:
      path: /healthz
  load_assignment:
    cluster_name: kube_apiservers
    endpoints:
    - lb_endpoints:
      - endpoint:
          address:
            socket_address:
              address: node0
              port_value: 6443
      - endpoint:
          address:
            socket_address:
              address: "fc00::2"
              port_value: 6443
"#;
    const LISTENERS: &str = r#"
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: listener_apiserver
  address:
    socket_address:
      address: "0.0.0.0"
      port_value: 6443
"#;

    fn value(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn envoy_configuration_of_kind_is_parsed() {
        let wanted = super::wanted(&value(CLUSTERS), &value(LISTENERS)).unwrap();
        assert_eq!(
            (wanted.listen.as_str(), &*wanted.servers),
            (
                "0.0.0.0:6443",
                &["node0:6443".into(), "[fc00::2]:6443".into()][..]
            )
        );
        assert_eq!(
            (
                wanted.health.path.as_str(),
                wanted.health.unhealthy_threshold
            ),
            ("/healthz", 2)
        );
        assert_eq!(
            (wanted.health.interval, wanted.health.connect_timeout),
            (Duration::from_secs(2), Duration::from_millis(250))
        );
        assert_eq!(
            super::wanted(&value("resources: []"), &value("resources: []")),
            None,
            "before kind has written any"
        );
    }

    #[test]
    fn healthy_servers_take_turns_and_all_do_if_none_is_healthy() {
        let server = |name: &str, well| {
            Arc::new(Server {
                address: name.into(),
                well: AtomicBool::new(well),
            })
        };
        let servers = [server("a", true), server("b", false), server("c", true)];
        let names = |turn| {
            targets(&servers, turn)
                .iter()
                .map(|server| server.address.clone())
                .collect::<Vec<_>>()
                .join("")
        };
        assert_eq!([names(0), names(1), names(2)], ["ac", "ca", "ac"]);
        for server in &servers {
            server.well.store(false, Ordering::Relaxed);
        }
        assert_eq!(names(1), "bca");
        assert!(targets(&[], 3).is_empty());
    }
}
