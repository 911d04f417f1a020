//! Notifications of a service manager: READY once the socket serves, STOPPING at the end. systemd's
//! protocol, one datagram each (sd_notify(3)); nothing is sent unless a manager asks for it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager, if it asked for notifications.
#[derive(Debug)]
pub(crate) struct ServiceManager(Option<OsString>);

impl ServiceManager {
    /// The manager that started this process.
    pub(crate) fn from_env() -> Self {
        Self(std::env::var_os(VARIABLE).filter(|path| !path.is_empty()))
    }

    /// The socket serves. The key may not be usable yet: kubelet may be waiting for this before it
    /// starts the network that leads to the key.
    pub(crate) fn ready(&self) {
        self.notify("READY=1\nSTATUS=serving");
    }

    /// The plugin ends; running calls may still take a while.
    pub(crate) fn stopping(&self) {
        self.notify("STOPPING=1");
    }

    fn notify(&self, state: &str) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = send(path, state) {
            tracing::warn!(%error, "cannot tell the service manager, {VARIABLE} is {path:?}");
        }
    }
}

fn send(path: &OsString, state: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        // An abstract socket, in systemd's notation.
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
    fn service_manager_receives_ready_and_stopping() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager(Some(path.into()));
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
    fn service_manager_may_use_an_abstract_socket() {
        let name = format!("kmslab-notify-{}", std::process::id());
        let address =
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        ServiceManager(Some(format!("@{name}").into())).ready();
        let mut buffer = [0; 64];
        assert!(socket.recv(&mut buffer).unwrap() > 0);
    }

    #[test]
    fn missing_service_manager_is_ignored() {
        ServiceManager(None).ready();
        ServiceManager(Some("/nonexistent/notify".into())).stopping();
    }
}
