//! `kmslab-emulator`: the emulator without the rest of kmslab, for container images.

use std::process::ExitCode;

use clap::Parser;
use kmslab_emulator::command::{self, EmulatorArgs};

/// AWS KMS, Azure Key Vault and Google Cloud KMS in one small process, for tests. Keys are kept in
/// memory: never use it for secrets that matter.
#[derive(Debug, Parser)]
#[command(name = "kmslab-emulator", version)]
struct Cli {
    #[command(flatten)]
    emulator: EmulatorArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(command::log_filter())
        .with_writer(std::io::stderr)
        .init();
    command::run(kmslab_program::parse::<Cli>().emulator).await
}
