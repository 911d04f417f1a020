//! The plugin without the rest of kmslab, for container images and systemd units; the same as
//! `kmslab plugin`.

use std::process::ExitCode;

use clap::Parser;
use kmslab_plugin::args::PluginArgs;

/// A Kubernetes KMS v2 plugin.
#[derive(Debug, Parser)]
#[command(name = "kmslab-plugin", version)]
struct Cli {
    #[command(subcommand)]
    plugin: PluginArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    kmslab_plugin::run(kmslab_program::parse::<Cli>().plugin).await
}
