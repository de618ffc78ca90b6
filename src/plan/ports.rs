//! Which ports of the host a container's are published on.

use std::collections::BTreeMap;

use crate::error::{Error, Kind};
use crate::model::container::ContainerId;
use crate::model::observed::Listener;
use crate::model::port::{DYNAMIC, PortMapping, Ports, Protocol};
use crate::model::publish::Publish;

/// What is published of 256 ports of a protocol.
type Blocks = BTreeMap<(Protocol, u8), Vec<PortMapping>>;

/// The port mappings of a container: the ports that it asks for, and the lowest free ones for
/// requests that name none, found in one pass; the same on every call, so that what `netns
/// plan` prints is what the hook then does.
///
/// With each port stands whether it leads to an address of IPv6 too; `published` says what is
/// published of 256 ports of a protocol, and `publisher` who publishes one of those.
///
/// # Errors
/// A port is asked for twice; somebody publishes it, or a program of the host listens there; no
/// port is free; or one of the questions fails.
pub fn choose<E: From<Error>>(
    container: &ContainerId,
    publish: &[(Publish, bool)],
    listeners: &[Listener],
    published: impl FnMut(Protocol, u8) -> std::result::Result<Vec<PortMapping>, E>,
    mut publisher: impl FnMut(&PortMapping) -> std::result::Result<String, E>,
) -> std::result::Result<Vec<PortMapping>, E> {
    let mut search = Search { blocks: Blocks::new(), published, listeners, next: BTreeMap::new() };
    let named = publish.iter().filter_map(|(publish, ipv6)| publish.host.map(|host| publish.at(host, *ipv6)));
    let mut chosen: Vec<PortMapping> = Vec::new();
    for wanted in named {
        let operation = || format!("publish {} for {container}", wanted.host_side());
        let refuse = |cause: String| Error::new(operation(), cause).of(Kind::Conflict);
        if chosen.iter().any(|other| other.conflicts(&wanted)) {
            return Err(refuse("it is asked for twice".to_owned()).into());
        }
        if let Some(other) = search.published(&wanted)? {
            return Err(refuse(publisher(&other)?).into());
        }
        if let Some(listener) = listeners.iter().find(|listener| listener.at.conflicts(&wanted)) {
            let error = refuse(format!("{} of the host listens there", listener.who));
            return Err(error.hint("stop it, or publish another port").into());
        }
        chosen.push(wanted);
    }
    let mut all = Vec::new();
    let mut named = chosen.clone().into_iter();
    for (publish, ipv6) in publish {
        if publish.host.is_some() {
            all.extend(named.next());
            continue;
        }
        let free = search.free(publish, *ipv6, &chosen)?;
        chosen.push(free.clone());
        all.push(free);
    }
    Ok(all)
}

struct Search<'a, F> {
    blocks: Blocks,
    published: F,
    listeners: &'a [Listener],
    /// Where the search for a protocol's next free port begins.
    next: BTreeMap<Protocol, u16>,
}

impl<F> Search<'_, F> {
    /// A published mapping that would catch packets of `wanted`: of several the one with the
    /// highest port.
    fn published<E>(&mut self, wanted: &PortMapping) -> std::result::Result<Option<PortMapping>, E>
    where
        F: FnMut(Protocol, u8) -> std::result::Result<Vec<PortMapping>, E>,
    {
        let mut found: Option<PortMapping> = None;
        for block in wanted.host.blocks() {
            let key = (wanted.protocol, block);
            if !self.blocks.contains_key(&key) {
                let known = (self.published)(wanted.protocol, block)?;
                self.blocks.insert(key, known);
            }
            let here = self.blocks.get(&key).into_iter().flatten().filter(|other| other.conflicts(wanted));
            found = here.cloned().chain(found).max_by_key(|other| other.host.last);
        }
        Ok(found)
    }

    fn free<E: From<Error>>(
        &mut self,
        publish: &Publish,
        ipv6: bool,
        chosen: &[PortMapping],
    ) -> std::result::Result<PortMapping, E>
    where
        F: FnMut(Protocol, u8) -> std::result::Result<Vec<PortMapping>, E>,
    {
        let more = u16::try_from(publish.container.count() - 1).unwrap_or(u16::MAX);
        let mut first = self.next.get(&publish.protocol).copied().unwrap_or(DYNAMIC.first);
        while let Some(last) = first.checked_add(more) {
            let wanted = publish.at(Ports { first, last }, ipv6);
            let listening = self.listeners.iter().map(|listener| &listener.at);
            let busy = listening.chain(chosen).filter(|other| other.conflicts(&wanted));
            let busy = busy.map(|other| other.host.last).max();
            let published = self.published(&wanted)?.map(|other| other.host.last);
            match busy.max(published) {
                None => {
                    self.next.insert(publish.protocol, last.checked_add(1).unwrap_or(last));
                    return Ok(wanted);
                }
                Some(obstacle) => match obstacle.checked_add(1) {
                    Some(next) => first = next,
                    None => break,
                },
            }
        }
        let operation = format!("choose a port of the host for {publish}");
        Err(Error::new(operation, format!("none of {DYNAMIC} is free")).of(Kind::Exhausted).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    fn choose_of(specs: &str, taken: &[&str]) -> Result<Vec<String>> {
        let mapping = |spec: &&str| {
            let publish: Publish = spec.parse().unwrap();
            publish.at(publish.host.unwrap(), false)
        };
        let taken: Vec<PortMapping> = taken.iter().map(mapping).collect();
        let publish: Vec<_> = specs.split(' ').map(|spec| (spec.parse().unwrap(), false)).collect();
        let container = ContainerId { id: "a".to_owned(), bundle: "/b".into() };
        let mut asked = 0;
        let chosen = choose::<Error>(
            &container,
            &publish,
            &[],
            |protocol, block| {
                asked += 1;
                let here = |m: &&PortMapping| {
                    m.protocol == protocol
                        && m.host.first / 256 <= block.into()
                        && m.host.last / 256 >= block.into()
                };
                Ok(taken.iter().filter(here).cloned().collect())
            },
            |other| Ok(format!("somebody publishes {other}")),
        );
        assert!(asked <= 300, "{asked} questions");
        chosen.map(|all| all.iter().map(PortMapping::host_side).collect())
    }

    #[test]
    fn free_ports_are_the_lowest_and_all_found_in_one_pass() {
        let chosen =
            choose_of("80 81/udp 82 1000-1001:1-2 90-91", &["49152:1", "49154-49155:1-2/tcp"]).unwrap();
        let expected = [
            "0.0.0.0:49153/tcp",
            "0.0.0.0:49152/udp",
            "0.0.0.0:49156/tcp",
            "0.0.0.0:1000-1001/tcp",
            "0.0.0.0:49157-49158/tcp",
        ];
        assert_eq!(chosen, expected);
        let many = vec!["80"; 1024].join(" ");
        assert_eq!(choose_of(&many, &["49152-60000:1-10849"]).unwrap().last().unwrap(), "0.0.0.0:61024/tcp");
    }

    #[test]
    fn what_somebody_publishes_is_refused() {
        let error = choose_of("8080:80", &["8000-8999:1-1000"]).unwrap_err().to_string();
        let said =
            "publish 0.0.0.0:8080/tcp for container a: somebody publishes 0.0.0.0:8000-8999->1-1000/tcp";
        assert_eq!(error, said);
        assert!(choose_of("127.0.0.1:8080:80", &["127.0.0.2:8080:80", "8080:80/udp"]).is_ok());
        assert!(choose_of("90:90 90:91", &[]).unwrap_err().to_string().ends_with("asked for twice"));
    }

    #[test]
    fn a_full_range_says_so() {
        let error = choose_of("80", &["49152-65535:1-16384"]).unwrap_err().to_string();
        assert_eq!(error, "choose a port of the host for 80/tcp: none of 49152-65535 is free");
    }
}
