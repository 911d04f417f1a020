//! Ports of the loopback interface that nobody else takes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketAddrAny, SocketType, bind, getsockname, socket, sockopt};

/// A reserved port of 127.0.0.1: bound with SO_REUSEPORT and never listened on, so that a program
/// that binds it with SO_REUSEPORT too (kube-apiserver `--permit-port-sharing`) gets every
/// connection, also after a restart.
#[derive(Debug)]
pub struct PortReservation {
    port: u16,
    _socket: OwnedFd,
}

impl PortReservation {
    /// Reserves a free port.
    pub fn new() -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        // Children must not hold the port when this process is gone.
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let port = local_port(getsockname(&socket)?)?;
        Ok(Self {
            port,
            _socket: socket,
        })
    }

    /// The port number.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn local_port(address: SocketAddrAny) -> io::Result<u16> {
    let address = SocketAddr::try_from(address)?;
    Ok(address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn reserved_port_is_unavailable_to_others() {
        let reserved = PortReservation::new().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, reserved.port())).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn program_with_reuseport_gets_the_connections() {
        let reserved = PortReservation::new().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, reserved.port()));
        let server = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&server, true).unwrap();
        bind(&server, &address).unwrap();
        rustix::net::listen(&server, 1).unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn reserved_ports_differ() {
        let reserved: Vec<_> = (0..20).map(|_| PortReservation::new().unwrap()).collect();
        let ports: std::collections::BTreeSet<_> =
            reserved.iter().map(PortReservation::port).collect();
        assert_eq!(ports.len(), 20);
    }
}
