//! `kmslab balancer`, hidden: replaces `envoy` in a kind cluster's load balancer if envoy's image
//! cannot be pulled.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cluster::kind::balancer;

/// Flags of `kmslab balancer`, as kind passes them to envoy.
#[derive(Debug, Clone, Args)]
pub struct BalancerArgs {
    /// Envoy's configuration, which names the files that kind writes
    #[arg(short = 'c', long = "config-path", value_name = "FILE")]
    pub config: PathBuf,
}

/// Serves until it is stopped.
pub async fn run(args: BalancerArgs) -> anyhow::Result<ExitCode> {
    balancer::run(&args.config).await?;
    Ok(ExitCode::SUCCESS)
}
