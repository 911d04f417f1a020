//! The command line, one verb a file.

pub mod assets;
pub mod balancer;
pub mod down;
pub mod inspect;
pub mod list;
mod loopback;
pub mod relay;
pub mod run;
pub mod status;
pub mod up;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kmslab_emulator::args::EmulatorArgs;
use kmslab_plugin::args::PluginArgs;

use crate::process::exec_child::{self, ExecChildArgs};
use crate::{exit, printable};

const ENVIRONMENT: &str = "\
Environment:
  RUST_LOG  What is logged on stderr, such as info or kmslab_emulator=debug. Default: warn, and info for the plugin.";

/// Kubernetes encryption at rest with a cloud KMS, on a laptop: run it, break it, rotate it, prove
/// it.
#[derive(Debug, Parser)]
#[command(name = "kmslab", version, propagate_version = true, arg_required_else_help = true, after_help = ENVIRONMENT)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Play scenarios on an emulated cloud and a cluster, and say what held
    Run(Box<run::RunArgs>),
    /// Start a lab that stays: emulator, plugin, API server, etcd
    Up(Box<up::UpArgs>),
    /// End a lab
    Down(down::DownArgs),
    /// Show which labs are up, where everything is, and whether it works
    Status(status::StatusArgs),
    /// List the scenarios
    List(list::ListArgs),
    /// Serve AWS KMS, Azure Key Vault and Google Cloud KMS on this machine until a signal ends it
    Emulator(Box<EmulatorArgs>),
    /// Serve a Kubernetes KMS v2 plugin on a unix socket until a signal ends it
    Plugin {
        /// The cloud that holds the key.
        #[command(subcommand)]
        cloud: Box<PluginArgs>,
    },
    /// What real clusters need: kube-apiserver, etcd and their clients
    Assets(assets::AssetsArgs),
    /// Show what every value in etcd is, and which key it needs
    Inspect(Box<inspect::InspectArgs>),
    /// Joins standard input and output with a unix socket.
    #[command(hide = true)]
    Relay(relay::RelayArgs),
    /// Passes connections on to the API servers of a kind cluster.
    #[command(hide = true)]
    Balancer(balancer::BalancerArgs),
    /// Becomes a program that dies when its parent does.
    #[command(hide = true)]
    ExecChild(ExecChildArgs),
}

/// Runs one command. Errors go to stderr; the exit code says what they mean.
pub fn main() -> ExitCode {
    let cli = kmslab_program::parse::<Cli>();
    // Before there are threads: this one is to become another program.
    if let Verb::ExecChild(args) = cli.verb {
        return exec_child::run(args);
    }
    if matches!(cli.verb, Verb::Run(_) | Verb::Up(_))
        && let Err(error) = loopback::reach_directly()
    {
        return exit::report(&exit::environment(format!(
            "cannot start kmslab again: {error}"
        )));
    }
    crate::tls::install_provider();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::report(&exit::environment(format!(
                "cannot start the async runtime: {error}"
            )));
        }
    };
    match runtime.block_on(run(cli.verb)) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

async fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    if !matches!(verb, Verb::Plugin { .. }) {
        let filter = kmslab_emulator::args::log_filter();
        // Fails where the embedding program has set up logging; then that one is used.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init();
    }
    match verb {
        Verb::Run(args) => run::run(*args).await,
        Verb::Up(args) => up::run(*args).await,
        Verb::Down(args) => down::run(args).await,
        Verb::Status(args) => status::run(args).await,
        Verb::List(args) => list::run(args),
        Verb::Emulator(args) => kmslab_emulator::args::run(*args).await,
        Verb::Plugin { cloud } => kmslab_plugin::run(*cloud).await,
        Verb::Assets(args) => assets::run(args).await,
        Verb::Inspect(args) => inspect::run(*args).await,
        Verb::Balancer(args) => balancer::run(args).await,
        Verb::Relay(args) => relay::run(args).await,
        Verb::ExecChild(args) => Ok(exec_child::run(args)),
    }
}

/// Writes a result to standard output. A reader that has seen enough, as `| head`, is no error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out
        .write_all(printable::shown(text).as_bytes())
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
