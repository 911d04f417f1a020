//! `kmslab export`: the state of a running emulator as a seed file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use kmslab_emulator::SeedFile;

use super::emulator_target::{EmulatorTarget, refused};
use crate::exit::say;

const EXAMPLES: &str = "\
Examples:
  kmslab export                                   # what there is, as JSON, without secrets
  kmslab export state.yaml --with-material        # and all that another emulator needs to be the same
  kmslab emulator --seed state.yaml

Without --lab and --emulator-admin, the only lab that is up is used, else the emulator on 127.0.0.1:7690.
An export has no audit trail, and Google's long-running operations are not in it.";

/// Flags of `kmslab export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    #[command(flatten)]
    target: EmulatorTarget,
    /// File to write, which only its owner may read; YAML if it ends with .yaml or .yml, else JSON
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Include key material and what callers log in with
    #[arg(long, requires = "file")]
    with_material: bool,
}

/// Runs `kmslab export`.
pub async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let client = args.target.client()?;
    let exported = client.export(args.with_material).await.map_err(refused)?;
    let Some(path) = args.file else {
        super::print(&format!("{exported:#}\n"))?;
        return Ok(ExitCode::SUCCESS);
    };
    let seed: SeedFile = serde_json::from_value(exported)
        .context("the emulator's export is not a seed file of this version of kmslab")?;
    seed.write(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    say!("{} written", path.display());
    Ok(ExitCode::SUCCESS)
}
