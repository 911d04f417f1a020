//! `kmslab env`: variables with which a vendor's tool or SDK uses a running emulator.

use std::process::ExitCode;

use clap::Args;
use kmslab_emulator::variables::Program;
use kmslab_emulator::well_known::AWS_REGION;
use kmslab_emulator_api::Cloud;

use super::emulator_target::{EmulatorTarget, refused};
use crate::exit::{say, usage};

const EXAMPLES: &str = "\
Examples:
  eval \"$(kmslab env --for awscli)\" && aws kms list-keys
  eval \"$(kmslab env --for az)\"                   # then az login, as a line of it says
  eval \"$(kmslab env --for python --cloud aws)\"   # without the proxy that the other clouds need
  (eval \"$(kmslab env --for terraform)\" && terraform plan)

The lines also unset what would make the tool use another cloud or login. In a subshell, as in the
last example, nothing stays. Tools that use the vendors' own host names get a proxy that refuses
every other host.

Without --lab and --emulator-admin, the only lab that is up is used, else the emulator on 127.0.0.1:7690.";

/// Flags of `kmslab env`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EnvArgs {
    #[command(flatten)]
    target: EmulatorTarget,
    /// The tool, or the language of the SDKs
    #[arg(long = "for", value_enum, value_name = "TOOL")]
    program: Program,
    /// Only the variables for this cloud: aws, azure or gcp; several are possible
    #[arg(long, value_name = "CLOUD")]
    cloud: Vec<Cloud>,
}

/// Runs `kmslab env`.
pub async fn run(args: EnvArgs) -> anyhow::Result<ExitCode> {
    let EnvArgs {
        target,
        program,
        cloud: wanted,
    } = args;
    let possible = program.clouds();
    if let Some(other) = wanted.iter().find(|cloud| !possible.contains(cloud)) {
        return Err(usage(format!(
            "--for has no variables for {other}: leave --cloud out"
        )));
    }
    let region = target.lab()?.map(|lab| lab.kms.region);
    let region = region.filter(|region| !region.is_empty());
    let endpoints = target.client()?.endpoints().await.map_err(refused)?;
    let clouds = match &wanted[..] {
        [] => possible,
        wanted => wanted,
    };
    let region = region.as_deref().unwrap_or(AWS_REGION);
    let variables = program
        .variables(clouds, &endpoints, region)
        .map_err(|missing| usage(missing.to_string()))?;
    super::print(&variables.to_string())?;
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        say!("to set them: eval \"$(kmslab env --for ...)\"");
    }
    Ok(ExitCode::SUCCESS)
}
