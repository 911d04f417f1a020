//! `kmslab plugin …` and `kmslab-plugin …`: runs one plugin until a signal.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{CommonArgs, LogFormat, PluginArgs};
use crate::kek::aws::AwsKek;
use crate::kek::azure::AzureKek;
use crate::kek::gcp::GcpKek;
use crate::kek::{Kek, Renewing, aws, azure, gcp};
use crate::notify::ServiceManager;
use crate::server::{Plugin, StartError};
use crate::socket::{self, Access, SocketError};
use crate::time::BoxFuture;

const USAGE: u8 = 2;
const ENVIRONMENT: u8 = 3;

/// Serves until SIGTERM or SIGINT, then finishes running calls. Messages go to stderr, nothing to
/// stdout.
pub async fn run(args: PluginArgs) -> anyhow::Result<ExitCode> {
    // A program that embeds the plugin may have chosen a provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    start_logging(args.common().log_format);
    let plugin = match prepare(&args).await {
        Ok(plugin) => plugin,
        Err(error) => return Ok(report(&error)),
    };
    // Before the socket exists: whoever sees the socket may send a signal.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let running = match plugin.start().await {
        Ok(running) => running,
        Err(error) => return Ok(report(&RunError::Start(error))),
    };
    let manager = ServiceManager::from_env();
    manager.ready();
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("{name}: calls in flight end, then the plugin does");
    manager.stopping();
    running.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Why the plugin does not run.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Aws(#[from] aws::ConfigError),
    #[error(transparent)]
    Azure(#[from] azure::ConfigError),
    #[error(transparent)]
    Gcp(#[from] gcp::ConfigError),
    #[error(transparent)]
    Listen(#[from] SocketError),
    #[error(transparent)]
    Start(StartError),
}

impl RunError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Aws(aws::ConfigError::NoRoots(_))
            | Self::Azure(azure::ConfigError::NoRoots(_))
            | Self::Gcp(gcp::ConfigError::NoRoots(_)) => ENVIRONMENT,
            Self::Aws(_)
            | Self::Azure(_)
            | Self::Gcp(_)
            | Self::Start(StartError::Grace { .. }) => USAGE,
            Self::Listen(error) | Self::Start(StartError::Socket(error)) => match error {
                SocketError::Abstract(_) | SocketError::TooLong { .. } => USAGE,
                _ => ENVIRONMENT,
            },
            Self::Start(StartError::Health { .. }) => ENVIRONMENT,
        }
    }
}

fn report(error: &RunError) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}

async fn prepare(args: &PluginArgs) -> Result<Plugin, RunError> {
    let CommonArgs {
        listen,
        socket_mode,
        socket_group,
        generation,
        probe_interval,
        call_timeout,
        grace,
        drain,
        health_listen,
        permit_port_sharing,
        log_format: _,
    } = args.common();
    let path = socket::parse_listen(listen)?;
    let (first, args) = (build_kek(args, *call_timeout).await?, args.clone());
    let call_timeout = *call_timeout;
    let again = move || -> BoxFuture<'static, Result<Arc<dyn Kek>, String>> {
        let args = args.clone();
        Box::pin(async move {
            build_kek(&args, call_timeout)
                .await
                .map_err(|error| error.to_string())
        })
    };
    let kek = Arc::new(Renewing::new(first, Box::new(again)));
    let mut plugin = Plugin::builder(kek, path)
        .access(Access::new(*socket_mode, *socket_group))
        .generation(*generation)
        .probe_interval(*probe_interval)
        .grace(*grace)
        .drain(*drain);
    if let Some(addr) = health_listen {
        plugin = plugin
            .health_listen(*addr)
            .permit_port_sharing(*permit_port_sharing);
    }
    Ok(plugin)
}

/// Builds the client of the key from flags and from the current files and environment.
async fn build_kek(args: &PluginArgs, call_timeout: Duration) -> Result<Arc<dyn Kek>, RunError> {
    Ok(match args {
        PluginArgs::Aws(args) => Arc::new(
            AwsKek::builder(&args.key)
                .region(args.region.as_deref())
                .endpoint_url(args.endpoint_url.as_deref().filter(|url| !url.is_empty()))
                .ca_file(args.ca_file.as_deref())
                .call_timeout(call_timeout)
                .build()
                .await?,
        ),
        PluginArgs::Azure(args) => Arc::new(
            AzureKek::builder(args.vault(), &args.key_name)
                .version(args.key_version.as_deref())
                .auth(args.auth)
                .config_file(args.config_file.as_deref())
                .ca_file(args.ca_file.as_deref())
                .proxy(args.proxy.as_deref())
                .call_timeout(call_timeout)
                .build()
                .await?,
        ),
        PluginArgs::Gcp(args) => Arc::new(
            GcpKek::builder(&args.key_uri)
                .endpoint(args.endpoint.as_deref())
                .source(args.auth)
                .credentials_file(args.credentials_file.as_deref())
                .call_timeout(call_timeout)
                .build()
                .await?,
        ),
    })
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Fails if the embedding program has set up logging, which is then used.
    let _ = match format {
        LogFormat::Human => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
