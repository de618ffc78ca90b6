//! Datagrams that say who sent them and what they are for: servers remember what they got, and
//! callers what was answered.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::table::{Cell, Matrix};
use super::world::{CALLERS, INSIDE, NETWORKS, WAYS};
use crate::common::Process;
use crate::common::traffic::inside;

/// Way, caller and network.
type Place = (usize, usize, usize);

/// How long to wait for answers before asking again.
const ROUND: Duration = Duration::from_millis(150);
/// How often what is not answered is asked for again, at least; and again for as long as there are
/// answers.
const ROUNDS: usize = 6;

fn words((way, caller, at): Place, ipv6: bool) -> String {
    format!("{way} {caller} {at} {ipv6}")
}

/// A container that answers with what it is asked.
pub struct Server {
    got: Arc<Mutex<BTreeSet<String>>>,
}

impl Server {
    pub fn start(process: Process) -> Self {
        let got = Arc::new(Mutex::new(BTreeSet::new()));
        for port in INSIDE {
            let got = Arc::clone(&got);
            let bind = move || UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port)));
            let socket = inside(process, move || bind().expect("bind"));
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                    got.lock().unwrap().insert(String::from_utf8_lossy(&buffer[..n]).into_owned());
                    let _ = socket.send_to(&buffer[..n], from);
                }
            });
        }
        Self { got }
    }

    fn has_got(&self, words: &str) -> bool {
        self.got.lock().unwrap().contains(words)
    }
}

/// Somebody's question.
struct Question {
    socket: usize,
    to: SocketAddr,
    place: Place,
    answered: bool,
}

/// Somebody who asks.
pub struct Caller {
    process: Option<Process>,
    ipv6: bool,
    sources: Vec<Option<IpAddr>>,
    sockets: Vec<UdpSocket>,
    questions: Vec<Question>,
    row: usize,
}

impl Caller {
    pub fn new(row: usize, ipv6: bool, process: Option<Process>) -> Self {
        Self { process, ipv6, sources: Vec::new(), sockets: Vec::new(), questions: Vec::new(), row }
    }

    /// Will ask there, from this address.
    pub fn asks(&mut self, source: Option<IpAddr>, place: Place, to: (IpAddr, u16)) {
        let at = self.sources.iter().position(|known| *known == source);
        let socket = at.unwrap_or_else(|| {
            self.sources.push(source);
            self.sockets.push(self.socket(source));
            self.sockets.len() - 1
        });
        self.questions.push(Question { socket, to: to.into(), place, answered: false });
    }

    fn socket(&self, source: Option<IpAddr>) -> UdpSocket {
        let any = if self.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let bind = move || {
            let socket = UdpSocket::bind((source.unwrap_or(any), 0)).expect("bind");
            socket.set_nonblocking(true).expect("set nonblocking");
            socket
        };
        self.process.map_or_else(bind, |process| inside(process, bind))
    }

    fn ask(&self) {
        for question in self.questions.iter().filter(|question| !question.answered) {
            let words = words(question.place, self.ipv6);
            let _ = self.sockets[question.socket].send_to(words.as_bytes(), question.to);
        }
    }

    /// How many new answers there are.
    fn hear(&mut self) -> usize {
        let (mut buffer, mut heard) = ([0; 64], 0);
        for socket in &self.sockets {
            // An error is that of one datagram that somebody refused.
            for _ in 0..1000 {
                let n = match socket.recv(&mut buffer) {
                    Ok(n) => n,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_) => continue,
                };
                let said = String::from_utf8_lossy(&buffer[..n]);
                let question =
                    self.questions.iter_mut().find(|question| words(question.place, self.ipv6) == said);
                let question = question.expect("an answer to a question of its own");
                heard += usize::from(!std::mem::replace(&mut question.answered, true));
            }
        }
        heard
    }
}

/// Has all of them ask, until no more answers come. Whoever sends under another's address gets
/// none: there it counts what has arrived.
///
/// Nobody else gets what the caller is not answered.
pub fn measure(mut callers: Vec<Caller>, servers: &[Server]) -> Matrix {
    let (mut round, mut last) = (0, 0);
    while round < last + ROUNDS {
        callers.iter().for_each(Caller::ask);
        std::thread::sleep(ROUND);
        round += 1;
        if callers.iter_mut().map(Caller::hear).sum::<usize>() > 0 {
            last = round;
        }
    }
    let mut matrix = vec![vec![vec![Cell::default(); NETWORKS.len()]; CALLERS.len()]; WAYS.len()];
    for caller in &callers {
        for Question { place: place @ (way, row, at), answered, to, .. } in &caller.questions {
            let words = words(*place, caller.ipv6);
            let got = servers.iter().position(|server| server.has_got(&words));
            assert!(got.is_none_or(|got| got == *at), "{to} leads elsewhere: {words}");
            let hides = caller.row == CALLERS.len() - 1;
            let asked = format!("{} calls {to} ({})", CALLERS[*row], NETWORKS[*at].title);
            assert!(hides || got.is_some() == *answered, "{asked}: it arrives, and nobody is answered");
            let cell = &mut matrix[*way][*row][*at];
            *(if caller.ipv6 { &mut cell.ipv6 } else { &mut cell.ipv4 }) = Some(got.is_some());
        }
    }
    matrix
}
