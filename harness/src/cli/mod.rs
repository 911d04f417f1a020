//! The command line; each command has its own file.

pub mod assets;
pub mod audit;
pub mod balancer;
pub mod down;
mod emulator_target;
pub mod env;
pub mod export;
pub mod faults;
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
use kmslab_emulator::command::EmulatorArgs;
use kmslab_plugin::args::PluginArgs;

use crate::process::exec_child::{self, ExecChildArgs};
use crate::{exit, printable};

const ENVIRONMENT: &str = "\
Environment:
  RUST_LOG  What is logged on stderr, such as info or kmslab_emulator=debug. Default: warn, and info for the plugin.";

/// Kubernetes encryption at rest with a cloud KMS, on a laptop or in CI: run it, break it, rotate
/// it, prove it.
#[derive(Debug, Parser)]
#[command(name = "kmslab", version, propagate_version = true, arg_required_else_help = true, after_help = ENVIRONMENT)]
pub struct Cli {
    #[command(subcommand)]
    verb: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios on an emulated cloud and a cluster, and report the results
    Run(Box<run::RunArgs>),
    /// Start a lab and keep it running: emulator, plugin, API server, etcd
    Up(Box<up::UpArgs>),
    /// Stop a lab
    Down(down::DownArgs),
    /// Show the running labs, their addresses and their health
    Status(status::StatusArgs),
    /// List the scenarios
    List(list::ListArgs),
    /// Serve AWS KMS, Azure Key Vault and Google Cloud KMS on this machine until a signal
    Emulator(Box<EmulatorArgs>),
    /// Make a running emulator answer as a cloud on a bad day: slow, throttled, wrong or not at all
    Faults(faults::FaultsArgs),
    /// Show who used which key of a running emulator, with which outcome
    Audit(audit::AuditArgs),
    /// Print the variables with which a tool or SDK uses a running emulator
    Env(env::EnvArgs),
    /// Write what an emulator has as a seed file
    Export(export::ExportArgs),
    /// Serve a Kubernetes KMS v2 plugin on a unix socket until a signal
    Plugin {
        /// The cloud that holds the key.
        #[command(subcommand)]
        cloud: Box<PluginArgs>,
    },
    /// Install the programs of real clusters: kube-apiserver, etcd and their clients
    Assets(assets::AssetsArgs),
    /// Show what every value in etcd is, and which key it needs
    Inspect(Box<inspect::InspectArgs>),
    /// Connects standard input and output with a unix socket.
    #[command(hide = true)]
    Relay(relay::RelayArgs),
    /// Forwards connections to the API servers of a kind cluster.
    #[command(hide = true)]
    Balancer(balancer::BalancerArgs),
    /// Executes a program that dies when its parent does.
    #[command(hide = true)]
    ExecChild(ExecChildArgs),
}

/// Runs a command. Errors go to stderr and determine the exit code.
pub fn main() -> ExitCode {
    let cli = kmslab_program::parse::<Cli>();
    // Before any thread is started: this process becomes another program.
    if let Command::ExecChild(args) = cli.verb {
        return exec_child::run(args);
    }
    if matches!(cli.verb, Command::Run(_) | Command::Up(_))
        && let Err(error) = loopback::exempt_loopback()
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

async fn run(verb: Command) -> anyhow::Result<ExitCode> {
    if !matches!(verb, Command::Plugin { .. }) {
        let filter = kmslab_emulator::command::log_filter();
        // Fails if the embedding program has set up logging, which is then used.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init();
    }
    match verb {
        Command::Run(args) => run::run(*args).await,
        Command::Up(args) => up::run(*args).await,
        Command::Down(args) => down::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::List(args) => list::run(args),
        Command::Emulator(args) => kmslab_emulator::command::run(*args).await,
        Command::Faults(args) => faults::run(args).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Env(args) => env::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Plugin { cloud } => kmslab_plugin::run(*cloud).await,
        Command::Assets(args) => assets::run(args).await,
        Command::Inspect(args) => inspect::run(*args).await,
        Command::Balancer(args) => balancer::run(args).await,
        Command::Relay(args) => relay::run(args).await,
        Command::ExecChild(args) => Ok(exec_child::run(args)),
    }
}

/// Writes to standard output. A closed pipe, as with `| head`, is not an error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out
        .write_all(printable::escape(text).as_bytes())
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
