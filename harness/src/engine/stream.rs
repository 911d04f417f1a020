//! A connection to a unix socket inside a container: over standard input and output of a command
//! that the engine runs there. Works for users who may use the engine and not the socket's
//! directory, and where containers run in another machine, as with Docker Desktop.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How to get to one socket.
#[derive(Debug, Clone)]
pub struct Way {
    engine: PathBuf,
    args: Vec<String>,
}

impl Way {
    /// To `socket` in `container`, where `kmslab` is the command that runs this program there.
    pub fn new(engine: &Path, container: &str, kmslab: &[String], socket: &Path) -> Self {
        let mut args = vec!["exec".to_owned(), "--interactive".into(), container.into()];
        args.extend_from_slice(kmslab);
        args.extend(["relay".into(), socket.display().to_string()]);
        Self {
            engine: engine.into(),
            args,
        }
    }

    /// A new connection. Whether anybody listens shows when it is used.
    pub fn open(&self) -> std::io::Result<Stream> {
        let mut child = Command::new(&self.engine)
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pipe = || std::io::Error::other("the engine's command has no pipes");
        let (input, output) = (
            child.stdin.take().ok_or_else(pipe)?,
            child.stdout.take().ok_or_else(pipe)?,
        );
        Ok(Stream {
            input,
            output,
            _child: child,
        })
    }
}

/// One connection; closed when it is dropped.
#[derive(Debug)]
pub struct Stream {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().output).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().input).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().input).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().input).poll_shutdown(cx)
    }
}
