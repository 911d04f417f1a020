//! The plugin alone, for container images and systemd units; `kmslab plugin` is the same.

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
