//! A run reaches only its own emulator, whatever the SDKs find in the environment.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{ErrorKind, Read as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kmslab::cloud::sdk_variables;

/// A server that the variables point to; it counts connections.
struct Trap {
    address: String,
    visits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (visits, stop) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counted, stopped) = (Arc::clone(&visits), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while let Ok((mut visitor, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                visitor
                    .set_read_timeout(Some(Duration::from_millis(100)))
                    .unwrap();
                let mut head = [0; 300];
                match visitor.read(&mut head) {
                    Ok(n) => eprintln!("trapped: {}", String::from_utf8_lossy(&head[..n])),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        eprintln!("trapped: a silent visitor")
                    }
                    Err(error) => eprintln!("trapped: {error}"),
                }
            }
        });
        Self {
            address,
            visits,
            stop,
            thread: Some(thread),
        }
    }

    /// A value in the variable's form that points here.
    fn bait(&self, variable: &str) -> String {
        let Self { address, .. } = self;
        match variable {
            "GCE_METADATA_HOST" => address.clone(),
            "NO_PROXY" | "no_proxy" => "example.com".into(),
            "GOOGLE_CLOUD_UNIVERSE_DOMAIN" => "universe.example".into(),
            "AWS_MAX_ATTEMPTS" => "1".into(),
            "AZURE_AUTHORITY_HOST" => format!("https://{address}/"),
            _ => format!("http://{address}"),
        }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(std::net::TcpStream::connect(&self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn run_under_poison(args: &[&str]) {
    let (dir, trap) = (tempfile::tempdir().unwrap(), Trap::set());
    // A login of the user.
    let login = dir.path().join(".config/gcloud");
    std::fs::create_dir_all(&login).unwrap();
    let refresh = r#"{"type":"authorized_user","client_id":"made-up","client_secret":"made-up","refresh_token":"made-up"}"#;
    std::fs::write(login.join("application_default_credentials.json"), refresh).unwrap();
    // The cache of programs is not moved.
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        Into::into,
    );
    let run = Command::new(env!("CARGO_BIN_EXE_kmslab"))
        .args(args)
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("HOME", dir.path())
        .env("XDG_CACHE_HOME", cache)
        .envs(sdk_variables::all().map(|name| (name, trap.bait(name))))
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert_eq!(run.status.code(), Some(0), "{out}\n{err}");
    assert_eq!(
        trap.visits.load(Ordering::SeqCst),
        0,
        "somebody went where the environment points\n{out}\n{err}"
    );
}

#[test]
fn run_on_the_model_ignores_every_sdk_variable() {
    run_under_poison(&["run", "encrypt", "snapshot-theft", "--cloud", "all"]);
}

#[test]
fn migration_ignores_every_sdk_variable() {
    run_under_poison(&["run", "migrate", "--cloud", "azure", "--to", "gcp"]);
}

#[test]
#[ignore = "tier apiserver: needs kube-apiserver and etcd"]
fn run_on_the_stock_api_server_ignores_every_sdk_variable() {
    run_under_poison(&["run", "encrypt", "--cloud", "all", "--cluster", "apiserver"]);
}
