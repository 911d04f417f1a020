//! `kmslab relay`, hidden: the container side of [`crate::engine::ContainerSocket`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::io::{AsyncWriteExt as _, copy, split, stdin, stdout};
use tokio::net::UnixStream;

use crate::exit::environment;

/// Flags of `kmslab relay`.
#[derive(Debug, Clone, Args)]
pub struct RelayArgs {
    /// The unix socket
    #[arg(value_name = "PATH")]
    pub socket: PathBuf,
}

/// Connects standard input and output with the socket until either side is finished.
pub async fn run(args: RelayArgs) -> anyhow::Result<ExitCode> {
    let socket = UnixStream::connect(&args.socket).await;
    let socket =
        socket.map_err(|error| environment(format!("{}: {error}", args.socket.display())))?;
    let (mut from, mut to) = split(socket);
    let (mut input, mut output) = (stdin(), stdout());
    let inwards = async {
        copy(&mut input, &mut to).await?;
        to.shutdown().await
    };
    let outwards = async {
        copy(&mut from, &mut output).await?;
        output.flush().await
    };
    tokio::select! {
        done = inwards => done?,
        done = outwards => done?,
    }
    // Without waiting for standard input, whose reading thread cannot be stopped.
    std::process::exit(0)
}
