//! `kmslab balancer`, hidden: what `envoy` is in a kind cluster's load balancer where envoy's image
//! can't be pulled.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cluster::kind::balancer;

/// Flags of `kmslab balancer`, as kind calls envoy.
#[derive(Debug, Clone, Args)]
pub struct BalancerArgs {
    /// Envoy's own configuration, which names the files that kind writes
    #[arg(short = 'c', long = "config-path", value_name = "FILE")]
    pub config: PathBuf,
}

/// Serves until it is ended.
pub async fn run(args: BalancerArgs) -> anyhow::Result<ExitCode> {
    balancer::run(&args.config).await?;
    Ok(ExitCode::SUCCESS)
}
