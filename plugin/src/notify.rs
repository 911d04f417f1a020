//! What a service manager hears: READY once the socket serves, STOPPING when it ends. systemd's
//! protocol, one datagram each (sd_notify(3)); nothing where no manager asks for it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// A manager that asked to be told, or none.
#[derive(Debug)]
pub(crate) struct Manager(Option<OsString>);

impl Manager {
    /// The one that started this process.
    pub(crate) fn from_env() -> Self {
        Self(std::env::var_os(VARIABLE).filter(|path| !path.is_empty()))
    }

    /// The socket serves. Not "the key is good": the kubelet may be waiting for this, and it is
    /// what starts the network that leads to the key.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// It ends; calls in flight may still take a while.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = send(path, state) {
            tracing::warn!(%error, "cannot tell the service manager, {VARIABLE} is {path:?}");
        }
    }
}

fn send(path: &OsString, state: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        // An abstract name, as systemd writes it.
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?
        }
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_ready_and_stopping() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = Manager(Some(path.into()));
        let mut buffer = [0; 64];
        manager.ready();
        let length = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"READY=1\n"));
        manager.stopping();
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_one_too() {
        let name = format!("kmslab-notify-{}", std::process::id());
        let address =
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Manager(Some(format!("@{name}").into())).ready();
        let mut buffer = [0; 64];
        assert!(socket.recv(&mut buffer).unwrap() > 0);
    }

    #[test]
    fn no_manager_or_one_that_is_gone_is_no_error() {
        Manager(None).ready();
        Manager(Some("/nonexistent/notify".into())).stopping();
    }
}
