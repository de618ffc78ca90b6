use super::facts::{Container, Host, Inside, Parameters, Probe, Stale, Switch};
use super::*;
use crate::model::container::ContainerId;
use crate::model::network::Network;
use crate::model::observed::{Link, Links};
use crate::model::port::{PortMapping, Ports, Protocol};
use crate::model::record::{Attachment, Record};
use crate::model::rule::Backend;
use crate::model::sandbox::{FoundBy, Sandbox};

fn link(index: u32, name: &str, kind: &str, address: &str) -> Link {
    let (name, kind, state) = (name.to_owned(), Some(kind.to_owned()), "up".to_owned());
    let addresses = address.parse().into_iter().collect();
    Link { index, name, kind, state, up: true, mtu: 1500, addresses, ..Link::default() }
}

fn network(bridge: &str, address: &str) -> Network {
    Network {
        peers: Default::default(),
        reach: Default::default(),
        routes: Vec::new(),
        dns: Vec::new(),
        name: bridge.parse().unwrap(),
        bridge: bridge.parse().unwrap(),
        parent: None,
        ranges: Vec::new(),
        subnets: vec![address.parse().unwrap()],
        mtu: 1500,
        firewall: Backend::Iptables,
        boot_id: String::new(),
        steps: Vec::new(),
    }
}

fn attachment(number: u8) -> Attachment {
    Attachment {
        network: format!("br{number}").parse().ok(),
        bridge: format!("br{number}").parse().ok(),
        parent: None,
        interface: format!("eth{number}").parse().unwrap(),
        host_interface: format!("netnsv{number}-7").parse().ok(),
        mac: None,
        addresses: vec![format!("10.{number}.0.2/16").parse().unwrap()],
        gateways: vec![format!("10.{number}.0.1").parse().unwrap()],
    }
}

/// A container on two bridges, whose namespace was given by a path, and which publishes a port.
fn facts() -> Facts {
    let found_by = FoundBy::Path("/run/netns/it's".into());
    let single = |port| Ports { first: port, last: port };
    let mapping = PortMapping {
        host_ip: None,
        host: single(8080),
        container: single(80),
        protocol: Protocol::Tcp,
        from: Vec::new(),
    };
    let record = Record {
        labels: Default::default(),
        container: ContainerId { id: "web".to_owned(), bundle: "".into() },
        sandbox: Sandbox { netns: 7, boot_id: String::new(), found_by },
        attachments: vec![attachment(0), attachment(1)],
        ports: vec![mapping],
        since: 0,
        steps: Vec::new(),
    };
    let container = |number: u8| {
        let attachment = record.attachments[usize::from(number)].clone();
        let address = attachment.addresses[0].to_string();
        let inside = link(2, attachment.interface.as_str(), "veth", &address);
        Container {
            record: record.clone(),
            first: number == 0,
            bridge: attachment.bridge.clone().unwrap(),
            host_end: attachment.host_interface.clone().unwrap(),
            gateway: attachment.gateways[0],
            stale: None,
            inside: Some(Inside { link: Some(inside), default_route: true, resolvers: None }),
            listeners: Some(Vec::new()),
            sent_by: Ok(Some(format!("br{number}"))),
            flows: Vec::new(),
            probe: Probe::default(),
            attachment,
        }
    };
    let bridge =
        |number: u32| link(number + 1, &format!("br{number}"), "bridge", &format!("10.{number}.0.1/16"));
    let end = |number: u32| Link {
        master: Some(number + 1),
        ..link(number + 3, &format!("netnsv{number}-7"), "veth", "")
    };
    let on = Parameters { forwarding: [true; 2], rp_filter: 0, route_localnet: true };
    let host = Host {
        forwarding: [Switch { key: "net/ipv4/ip_forward", on: true }; 2],
        links: Links(vec![bridge(0), bridge(1), end(0), end(1)]),
        parameters: (1..5).map(|index| (index, on)).collect(),
        ..Host::default()
    };
    Facts {
        netns: "netns".to_owned(),
        host,
        networks: vec![network("br0", "10.0.0.1/16"), network("br1", "10.1.0.1/16")],
        containers: vec![container(0), container(1)],
        ..Facts::default()
    }
}

fn found(facts: &Facts) -> Vec<(&'static str, String)> {
    diagnose(facts).into_iter().map(|finding| (finding.check.name(), finding.why)).collect()
}

#[test]
fn what_is_about_a_container_is_told_once_and_what_is_about_an_attachment_of_each() {
    let mut facts = facts();
    assert_eq!(found(&facts).iter().map(|(check, _)| *check).collect::<Vec<_>>(), ["nobody-listens"]);
    for container in &mut facts.containers {
        container.inside.as_mut().unwrap().link.as_mut().unwrap().up = false;
    }
    let why = |number| format!("eth{number} is down: it reaches nobody, and nobody its ports");
    let found_now = found(&facts);
    assert_eq!(found_now[..2], [("interface-broken", why(0)), ("interface-broken", why(1))]);
    facts.containers.iter_mut().for_each(|container| container.stale = Some(Stale::Dead));
    assert_eq!(found(&facts).len(), 1);
}

#[test]
fn a_remedy_for_a_namespace_without_a_process_names_its_path() {
    let mut facts = facts();
    facts.containers[1].inside.as_mut().unwrap().link.as_mut().unwrap().addresses.clear();
    let finding = diagnose(&facts).swap_remove(0);
    let remedy = r"NETNS='/run/netns/it'\''s' && nsenter --net=$NETNS ip addr add 10.1.0.2/16 brd + dev eth1";
    assert_eq!(finding.remedy.unwrap(), remedy);
}
