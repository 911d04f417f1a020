//! `/livez`, `/readyz`, `/healthz` and their checks, with the messages of k8s.io/apiserver v0.36.3
//! `pkg/server/healthz`.
//!
//! Of the real server's approximately fifty checks the model has `ping`, `etcd` (always healthy),
//! `kms-providers`, `informer-sync` and `poststarthook/storage-readiness`.

use jiff::SignedDuration;

use super::super::Health;
use super::server::Server;

/// `--storage-initialization-timeout`: how long the storage may keep `/livez` failing.
const STORAGE_INITIALIZATION: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Ping,
    Etcd,
    KmsProviders,
    InformerSync,
    StorageReadiness,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Etcd => "etcd",
            Self::KmsProviders => "kms-providers",
            Self::InformerSync => "informer-sync",
            Self::StorageReadiness => "poststarthook/storage-readiness",
        }
    }

    async fn run(self, server: &Server) -> Result<(), String> {
        match self {
            Self::Ping | Self::Etcd => Ok(()),
            Self::KmsProviders => server.loaded().health().await,
            Self::InformerSync => {
                if server.sync().await {
                    Ok(())
                } else {
                    Err("1 informers not started yet: [*v1.Secret]".into())
                }
            }
            Self::StorageReadiness => {
                let waited = server.now().duration_since(server.started);
                if waited > STORAGE_INITIALIZATION || server.sync().await {
                    Ok(())
                } else {
                    Err("not finished".into())
                }
            }
        }
    }
}

/// The checks of an endpoint. An unhealthy plugin does not affect liveness (kubernetes#93968).
fn endpoint_checks(endpoint: &str) -> Option<Vec<Check>> {
    let mut checks = match endpoint {
        "livez" => return Some(vec![Check::Ping, Check::Etcd, Check::StorageReadiness]),
        "healthz" => vec![Check::Ping, Check::Etcd],
        "readyz" => vec![Check::Ping, Check::Etcd, Check::InformerSync],
        _ => return None,
    };
    // With automatic reload the check exists whatever is configured.
    checks.push(Check::KmsProviders);
    checks.push(Check::StorageReadiness);
    Some(checks)
}

/// GET of a health path, optionally with `?verbose` and `?exclude=`.
pub(crate) async fn respond(server: &Server, path: &str) -> Health {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = path.trim_start_matches('/');
    let (endpoint, single) = path
        .split_once('/')
        .map_or((path, None), |(endpoint, check)| (endpoint, Some(check)));
    let Some(checks) = endpoint_checks(endpoint) else {
        return unknown_path();
    };
    match single {
        None => all_checks(server, endpoint, &checks, query).await,
        Some(name) => match checks.iter().find(|check| check.name() == name) {
            Some(check) => single_check(server, *check).await,
            None => unknown_path(),
        },
    }
}

fn unknown_path() -> Health {
    Health {
        status: 404,
        body: "404 page not found\n".into(),
    }
}

async fn single_check(server: &Server, check: Check) -> Health {
    match check.run(server).await {
        Ok(()) => Health {
            status: 200,
            body: "ok".into(),
        },
        Err(err) => Health {
            status: 500,
            body: format!("internal server error: {err}\n"),
        },
    }
}

async fn all_checks(server: &Server, endpoint: &str, checks: &[Check], query: &str) -> Health {
    let mut unknown: Vec<&str> = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("exclude="))
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    let (mut lines, mut failed) = (String::new(), false);
    for check in checks {
        let name = check.name();
        let line = if let Some(at) = unknown.iter().position(|excluded| *excluded == name) {
            unknown.remove(at);
            format!("[+]{name} excluded: ok\n")
        } else if check.run(server).await.is_ok() {
            format!("[+]{name} ok\n")
        } else {
            failed = true;
            format!("[-]{name} failed: reason withheld\n")
        };
        lines.push_str(&line);
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            names.join(",")
        ));
    }
    let verbose = query
        .split('&')
        .any(|pair| pair == "verbose" || pair.starts_with("verbose="));
    match (failed, verbose) {
        (true, _) => Health {
            status: 500,
            body: format!("{lines}{endpoint} check failed\n"),
        },
        (false, true) => Health {
            status: 200,
            body: format!("{lines}{endpoint} check passed\n"),
        },
        (false, false) => Health {
            status: 200,
            body: "ok".into(),
        },
    }
}
