//! Packets that are sent to see whether they arrive. Every wait is bounded.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::model::port::Protocol;

/// How long a connection on this machine may take.
const CONNECTING: Duration = Duration::from_millis(1000);
/// How long to listen for the refusal of a datagram: nobody says that one has arrived.
const REFUSING: Duration = Duration::from_millis(150);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A connection; or, of a datagram, no refusal.
    Fine,
    /// Somebody said that nobody listens.
    Refused,
    /// Nothing.
    Silence,
    /// The kernel has no route there, or a firewall says so.
    Unreachable,
}

/// Asks a port, from the calling thread's network namespace.
pub fn ask(protocol: Protocol, to: SocketAddr) -> Answer {
    let asked = match protocol {
        Protocol::Tcp => TcpStream::connect_timeout(&to, CONNECTING).map(drop),
        Protocol::Udp => send(to),
        // Nothing that could be asked without the kernel's sctp module.
        Protocol::Sctp => Ok(()),
    };
    match asked.map_err(|error| error.kind()) {
        Ok(()) => Answer::Fine,
        Err(ErrorKind::ConnectionRefused) => Answer::Refused,
        Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => Answer::Silence,
        Err(_) => Answer::Unreachable,
    }
}

/// An empty datagram, which is as little as can be asked of a service that we do not know.
fn send(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.send(&[])?;
    socket.set_read_timeout(Some(REFUSING))?;
    match socket.recv(&mut [0; 1]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        answer => answer.map(drop),
    }
}
