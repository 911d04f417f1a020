//! `kmslab-emulator`: the emulator alone, for container images. On a laptop it is `kmslab
//! emulator`.

use std::process::ExitCode;

use clap::Parser;
use kmslab_emulator::args::{self, EmulatorArgs};

/// AWS KMS in one small process, for tests. Keys live in memory: never give it a secret that
/// matters.
#[derive(Debug, Parser)]
#[command(name = "kmslab-emulator", version)]
struct Cli {
    #[command(flatten)]
    emulator: EmulatorArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(args::log_filter())
        .with_writer(std::io::stderr)
        .init();
    args::run(kmslab_program::parse::<Cli>().emulator).await
}
