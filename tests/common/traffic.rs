//! Real packets between namespaces: servers and clients that live in a process's network
//! namespace, and the other hosts of a small internet.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::{Process, World};

/// How long a client waits for an answer that should come, or should not.
const PATIENCE: Duration = Duration::from_millis(700);

/// Does something in the network namespace of `process`, in a thread of its own.
pub fn inside<T: Send + 'static>(process: Process, what: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        let netns = File::open(format!("/proc/{}/ns/net", process.pid)).expect("open namespace");
        setns(netns, CloneFlags::CLONE_NEWNET).expect("setns");
        what()
    })
    .join()
    .expect("the thread in the namespace panicked")
}

/// Serves every connection to `port` with `name`, by either family, until the test ends.
pub fn serve_tcp(process: Process, port: u16, name: impl Into<String>) {
    let name = name.into();
    let listener = inside(process, move || TcpListener::bind(("::", port)).expect("listen"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|stream| answer(stream, name.as_bytes()));
        }
    });
}

/// Says `words`, and hears out what the client has to say: with that unread, closing would be
/// a reset, which may overtake the words.
fn answer(mut stream: TcpStream, words: &[u8]) -> std::io::Result<()> {
    stream.write_all(words)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Answers every datagram to `port` with `name`, by either family, until the test ends.
pub fn serve_udp(process: Process, port: u16, name: impl Into<String>) {
    let name = name.into();
    let socket = inside(process, move || UdpSocket::bind(("::", port)).expect("bind"));
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), from);
        }
    });
}

/// What a TCP server at `address` says to the calling thread's host; empty if nothing.
pub fn ask_tcp(address: &str) -> String {
    let address: SocketAddr = address.parse().expect("address");
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

/// What a UDP server at `address` answers to the calling thread's host; empty if nothing.
pub fn ask_udp(address: &str) -> String {
    let address: SocketAddr = address.parse().expect("address");
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut buffer = [0; 64];
    let answered =
        socket.connect(address).and_then(|()| socket.send(b"?")).and_then(|_| socket.recv(&mut buffer));
    answered.map_or_else(|_| String::new(), |n| String::from_utf8_lossy(&buffer[..n]).into_owned())
}

/// As [`ask_tcp`], from the network namespace of `process`.
pub fn ask_tcp_from(process: Process, address: &str) -> String {
    let address = address.to_owned();
    inside(process, move || ask_tcp(&address))
}

/// As [`ask_udp`], from the network namespace of `process`.
pub fn ask_udp_from(process: Process, address: &str) -> String {
    let address = address.to_owned();
    inside(process, move || ask_udp(&address))
}

impl World {
    /// Another host on the wire: this one is 10.0.0.1/24 on `wire0`, that one 10.0.0.2, with
    /// no route back to any container. Without a link-local address, whose route would come in
    /// the middle of a test that compares.
    pub fn neighbour(&mut self) -> Process {
        let process = self.process();
        // An IPv6 address would get its route only a second later, and look like a change.
        self.sh(&format!(
            "ip link add wire0 type veth peer name wire1 netns {} && \
             ip link set wire0 addrgenmode none && ip addr add 10.0.0.1/24 dev wire0 && \
             ip link set wire0 up",
            process.pid
        ));
        process.sh("ip link set lo up; ip addr add 10.0.0.2/24 dev wire1; ip link set wire1 up");
        process
    }

    /// As [`Self::neighbour`], by both families: this host is 2001:db8::1/64 too, and that one
    /// 2001:db8::2. Both have link-local addresses, and no default route.
    pub fn neighbour_of_both(&mut self) -> Process {
        let process = self.neighbour();
        self.sh("ip addr add 2001:db8::1/64 dev wire0 nodad; ip addr add fe80::1/64 dev wire0 nodad");
        process.sh("ip addr add 2001:db8::2/64 dev wire1 nodad");
        process
    }
}
