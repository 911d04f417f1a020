//! A connection to a unix socket in a container, through standard input and output of a command
//! that the engine runs there. It works for users without access to the socket's directory, and
//! with engines on other machines, such as Docker Desktop.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How to reach a socket.
#[derive(Debug, Clone)]
pub struct ContainerSocket {
    engine: PathBuf,
    args: Vec<String>,
}

impl ContainerSocket {
    /// The socket `socket` in `container`, where `kmslab` is the command of this program.
    pub fn new(engine: &Path, container: &str, kmslab: &[String], socket: &Path) -> Self {
        let mut args = vec!["exec".to_owned(), "--interactive".into(), container.into()];
        args.extend_from_slice(kmslab);
        args.extend(["relay".into(), socket.display().to_string()]);
        Self {
            engine: engine.into(),
            args,
        }
    }

    /// Opens a connection. Whether anything listens shows on first use.
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

/// A connection, closed on drop.
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
