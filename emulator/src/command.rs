//! The command line of `kmslab emulator` and of the stand-alone binary.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use kmslab_emulator_api::FaultFile;
use kmslab_keycore::{LabClock, SystemClock};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

pub use crate::announce::OutputFormat;
use crate::announce::{GcpKeyFile, print_addresses};
use crate::builder::AUDIT_EVENTS;
use crate::private_file;
use crate::seed::SeedCredential;
use crate::{Auth, CredentialError, Emulator, EmulatorBuilder, SeedFile, StartError, read_faults};

const EXAMPLES: &str = "\
Examples:
  kmslab emulator                                   # HTTP on 7600, HTTPS on 7643, admin on 7690, all on 127.0.0.1
  kmslab emulator --listen 127.0.0.1:0 --no-tls --format json
  kmslab emulator --credential AKIAEXAMPLE:secret:111122223333 --seed keys.yaml
  kmslab emulator --seed state.yaml --export state.yaml --with-material   # go on where the last one stopped
  kmslab emulator --faults faults.yaml --fault-seed 7   # {\"faults\":[{\"effect\":\"throttle\",\"share\":0.5}]}
  kmslab emulator --clock 2030-01-01T00:00:00Z      # keys live from then on; signatures keep the real time
  curl -X POST 127.0.0.1:7690/clock -d '{\"advance\":\"365d\"}'
  AWS_CA_BUNDLE=./tls/ca.pem aws --endpoint-url https://localhost:7643 kms list-keys   # after --tls-dir ./tls";

/// Flags of the emulator.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EmulatorArgs {
    /// HTTP address; port 0 chooses a free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7600")]
    pub listen: SocketAddr,
    /// HTTPS address
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7643")]
    pub tls_listen: SocketAddr,
    /// Disable HTTPS (and with it the proxy)
    #[arg(long, conflicts_with_all = ["tls_listen", "tls_dir", "proxy_listen"])]
    pub no_tls: bool,
    /// Address of the proxy for the vendors' host names: HTTPS_PROXY for the Azure CLI and SDKs
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7680")]
    pub proxy_listen: SocketAddr,
    /// Disable the proxy
    #[arg(long, conflicts_with = "proxy_listen")]
    pub no_proxy: bool,
    /// Admin address. It has no authentication: keep it on loopback
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7690")]
    pub admin_listen: SocketAddr,
    /// Directory that keeps the certificate authority; it is created if absent and reused if
    /// present
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Additional name or address in the server certificate, besides localhost; may be repeated
    #[arg(long = "tls-name", value_name = "NAME", value_parser = tls_name, conflicts_with = "no_tls")]
    pub tls_names: Vec<String>,
    /// Additional host name to answer, such as a Service's in a cluster or *.example.com; may be
    /// repeated. Addresses, names without a dot, the vendors' names and those of --tls-name are
    /// always answered
    #[arg(long = "allow-host", value_name = "NAME", value_parser = host_name)]
    pub allow_hosts: Vec<String>,
    /// Credentials, keys and aliases to create at start (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,
    /// Print the JSON Schema of seed files, and exit
    #[arg(long)]
    pub print_seed_schema: bool,
    /// Write all that the emulator has to this file when it stops, as a seed file that only its
    /// owner may read: YAML if it ends with .yaml or .yml, else JSON
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Include key material and what callers log in with in the export, so that an emulator with it
    /// as --seed is the same
    #[arg(long, requires = "export")]
    pub with_material: bool,
    /// Faults of the start (YAML or JSON); `kmslab faults --help` names their effects. At the end,
    /// those that hit no request are listed on stderr
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Seed of the faults' random decisions, in place of the file's; random if neither is given.
    /// It is printed on stderr
    #[arg(long, value_name = "N")]
    pub fault_seed: Option<u64>,
    /// Append each event of the audit trail to this file, as a line of JSON
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Number of events of the audit trail that are kept for `kmslab audit`; with 0 nothing is
    /// recorded
    #[arg(long, value_name = "N", default_value_t = AUDIT_EVENTS)]
    pub audit_events: usize,
    /// Initial time of the lab clock, RFC 3339; defaults to now
    #[arg(long, value_name = "TIME")]
    pub clock: Option<Timestamp>,
    /// Additional access key, besides test:test:123456789012; may be repeated
    #[arg(long = "credential", value_name = "ID:SECRET:ACCOUNT")]
    pub credentials: Vec<CredentialArg>,
    /// Whether signatures, tokens, policies and roles are checked, in all clouds; off allows every
    /// request
    #[arg(long, value_enum, default_value = "on")]
    pub auth: Auth,
    /// Format of the addresses
    #[arg(long, value_enum, default_value = "human")]
    pub format: OutputFormat,
}

/// The unparsed value of `--credential`. The argument parser repeats values that it rejects, and
/// this one contains a secret.
#[derive(Clone)]
pub struct CredentialArg(Zeroizing<String>);

impl fmt::Debug for CredentialArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialArg(..)")
    }
}

impl FromStr for CredentialArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl CredentialArg {
    /// The secret is between the first colon and the last, so it may contain colons.
    fn parse(&self) -> Result<SeedCredential, CredentialError> {
        let parts = self
            .0
            .split_once(':')
            .and_then(|(id, rest)| Some((id, rest.rsplit_once(':')?)));
        let (id, (secret, account)) = parts.ok_or(CredentialError::Form)?;
        Ok(SeedCredential::new(id, secret, account))
    }
}

fn tls_name(text: &str) -> Result<String, String> {
    let name = rustls::pki_types::ServerName::try_from(text);
    name.map(|_| text.to_owned())
        .map_err(|_| format!("{text:?} is not a host name or IP address"))
}

fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_name = !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        });
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a host name such as kms.example.com or *.example.com, without a port"
        ))
    }
}

/// Log filter: `RUST_LOG`, by default warnings.
pub fn log_filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"))
}

/// Runs until SIGTERM or SIGINT. Exit code 2 for flags and files that cannot be used, 3 if the
/// machine lacks something.
pub async fn run(args: EmulatorArgs) -> anyhow::Result<ExitCode> {
    // Before the addresses are printed, so that their reader may send a signal at once.
    let stopped = signals().context("cannot wait for signals")?;
    if args.print_seed_schema {
        print_schema();
        return Ok(ExitCode::SUCCESS);
    }
    let (format, seed) = (args.format, args.seed.clone());
    let export = args.export.clone().map(|path| (path, args.with_material));
    // Now, and not when there is something to lose.
    if let Some((path, _)) = &export
        && let Err(error) = private_file::ensure_writable(path)
    {
        tell(&format!(
            "error: --export {}: cannot write there: {error}",
            path.display()
        ));
        return Ok(ExitCode::from(2));
    }
    let started = match builder(args) {
        Ok(builder) => builder.start().await,
        Err(error) => Err(error),
    };
    let started = started.map_err(|error| match (error, seed) {
        (StartError::Seed(error), Some(path)) => StartError::Seed(error.in_file(&path)),
        (error, _) => error,
    });
    let emulator = match started {
        Ok(emulator) => emulator,
        Err(error) => {
            let code = if error.is_environment() { 3 } else { 2 };
            report(&error);
            return Ok(ExitCode::from(code));
        }
    };
    let (emulator, gcp_key_file) = tokio::task::spawn_blocking(move || {
        let file = GcpKeyFile::create(&emulator);
        (emulator, file)
    })
    .await
    .context("making a key for Google's clients")?;
    // Not fatal: tokens also come from the metadata server, and a container may have no writable
    // directory.
    let gcp_key_file = gcp_key_file.inspect_err(|error| {
        let dir = std::env::temp_dir();
        eprintln!(
            "warning: no key file for Google's clients: cannot write in {}: {error}; TMPDIR names another",
            dir.display()
        );
    });
    let gcp_key_file = gcp_key_file.ok();
    if let Some(file) = &gcp_key_file {
        emulator.publish_gcp_key_file(file.path.clone());
    }
    print_addresses(&emulator, format);
    let faults = emulator.faults();
    if !faults.faults.is_empty() {
        tell(&format!(
            "faults: --fault-seed {} repeats this run's random decisions",
            faults.seed
        ));
    }
    stopped.await;
    for fault in emulator.faults().never_hit() {
        let selected = match fault.selected {
            0 => "selected no request".to_owned(),
            requests => format!("selected {requests} requests and hit none"),
        };
        tell(&format!(
            "warning: the fault {} {selected}: {}",
            fault.name(),
            fault.fault
        ));
    }
    let exported = match export {
        Some((path, with_material)) => write_export(&emulator, &path, with_material).await,
        None => Ok(()),
    };
    // Before the directory that may contain it.
    drop(gcp_key_file);
    emulator.stop().await;
    exported.map(|()| ExitCode::SUCCESS)
}

async fn write_export(emulator: &Emulator, path: &Path, with_material: bool) -> anyhow::Result<()> {
    let exported = emulator.export(with_material).await?;
    exported
        .write(path)
        .with_context(|| format!("cannot write the export to {}", path.display()))?;
    tell(&format!("{} written", path.display()));
    Ok(())
}

/// Prints the schema. A closed stdout is no error.
fn print_schema() {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout().lock(), "{:#}", SeedFile::schema());
}

#[expect(clippy::print_stderr, reason = "a line for the user")]
fn tell(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stderr, reason = "the one place that tells the user")]
fn report(error: &StartError) {
    eprintln!("error: {error}");
}

fn builder(args: EmulatorArgs) -> Result<EmulatorBuilder, StartError> {
    let EmulatorArgs {
        listen,
        tls_listen,
        no_tls,
        proxy_listen,
        no_proxy,
        admin_listen,
        tls_dir,
        tls_names,
        allow_hosts,
        seed,
        faults,
        fault_seed,
        audit,
        audit_events,
        clock,
        credentials,
        auth,
        format: _,
        print_seed_schema: _,
        export: _,
        with_material: _,
    } = args;
    let tls_listen = (!no_tls).then_some(tls_listen);
    let proxy_listen = (!no_tls && !no_proxy).then_some(proxy_listen);
    warn_if_unauthenticated(auth);
    warn_if_reachable(
        &[
            ("--listen", Some(listen)),
            ("--tls-listen", tls_listen),
            ("--proxy-listen", proxy_listen),
        ],
        admin_listen,
        auth,
    );
    let wall = Arc::new(SystemClock);
    let lab = match clock {
        Some(start) => LabClock::starting_at(wall, start),
        None => LabClock::new(wall),
    };
    let mut builder = Emulator::builder()
        .listen(listen)
        .tls_listen(tls_listen)
        .proxy_listen(proxy_listen)
        .admin_listen(Some(admin_listen))
        .tls_dir(tls_dir)
        .tls_names(tls_names)
        .allow_hosts(allow_hosts)
        .auth(auth)
        .lab_clock(Arc::new(lab));
    for credential in credentials {
        builder = builder.session_credential(credential.parse()?);
    }
    if let Some(path) = seed {
        builder = builder.seed(SeedFile::read(&path)?);
    }
    let mut faults = match faults {
        Some(path) => read_faults(&path)?,
        None => FaultFile::default(),
    };
    faults.seed = fault_seed.or(faults.seed);
    builder = builder.faults(faults).audit_events(audit_events);
    if let Some(path) = audit {
        builder = builder.audit_file(path);
    }
    Ok(builder)
}

/// Nobody should believe that permissions were tested.
#[expect(clippy::print_stderr, reason = "a warning to the user")]
fn warn_if_unauthenticated(auth: Auth) {
    if auth.is_off() {
        eprintln!(
            "warning: --auth off: all clouds allow every request; no signature, token, policy or role is checked"
        );
    }
}

/// The well-known access key and the unauthenticated admin port are safe on loopback only.
#[expect(clippy::print_stderr, reason = "a warning to the user")]
fn warn_if_reachable(listen: &[(&str, Option<SocketAddr>)], admin: SocketAddr, auth: Auth) {
    let open = if auth == Auth::On {
        "its well-known credentials work (the access key test/test, and one for each other cloud)"
    } else {
        "no signature, token or permission is checked"
    };
    for &(flag, address) in listen {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            eprintln!("warning: {flag} {address} can be reached from other machines, and {open}");
        }
    }
    if !admin.ip().is_loopback() {
        eprintln!(
            "warning: --admin-listen {admin} can be reached from other machines: anyone may move the clock or delete every key"
        );
    }
}

/// Resolves at the first SIGINT or SIGTERM. Handlers are installed by this call, not by the first
/// poll.
#[cfg(unix)]
pub fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub fn signals() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
