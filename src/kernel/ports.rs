//! Free ports of the host.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use crate::config::publish::{DYNAMIC, Ports, Protocol, Publish, Published};
use crate::error::{Error, Result};

/// The lowest free ports for a request that names none, as many in a row as it needs: `busy`
/// names none of them, as it does the last that is published already, and no process of the host listens there. The same on every call, so that what
/// `netns plan` prints is what the hook then does.
///
/// # Errors
/// There is no such range.
pub fn free(publish: &Publish, busy: impl Fn(&Published) -> Option<u16>) -> Result<Ports> {
    let more = (publish.container.count() - 1).try_into().unwrap_or(u16::MAX);
    let address = publish.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut first = DYNAMIC.first;
    while let Some(last) = first.checked_add(more) {
        let host = Ports { first, last };
        let wanted = publish.at(host);
        let listening = || (first..=last).rev().find(|port| !can_bind(publish.protocol, address, *port));
        match busy(&wanted).or_else(listening) {
            None => return Ok(host),
            Some(obstacle) => match obstacle.checked_add(1) {
                Some(next) => first = next,
                None => break,
            },
        }
    }
    Err(Error::new(format!("choose a port of the host for {publish}"), format!("none of {DYNAMIC} is free")))
}

fn can_bind(protocol: Protocol, address: IpAddr, port: u16) -> bool {
    match protocol {
        Protocol::Tcp => TcpListener::bind((address, port)).is_ok(),
        Protocol::Udp => UdpSocket::bind((address, port)).is_ok(),
        // Nothing that could be opened without the kernel's sctp module, which is seldom there.
        Protocol::Sctp => true,
    }
}
